package digits.server;

import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelHandlerContext;
import io.netty.handler.codec.DecoderResult;
import io.netty.handler.codec.http.DefaultFullHttpRequest;
import io.netty.handler.codec.http.EmptyHttpHeaders;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpContent;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpMessage;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.util.ConfigManager;

/**
 * Collects the body of a request, within limits of size, memory and time.
 *
 * <p>A request beyond them is passed on as failed. Its body is read and dropped: closing would lose the answer.
 */
final class BodyCollector extends HttpObjectAggregator {
    /** Seconds that a body may take to arrive while there is no room for another one. */
    private static final int ARRIVAL_S = 30;

    private final BodyBudget budget;
    private HttpRequest head;
    private Refusal refusal;
    private long reserved;
    private ScheduledFuture<?> check;

    BodyCollector(BodyBudget budget) {
        super(ConfigManager.getInstance().getMaxRequestSize());
        this.budget = budget;
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) throws Exception {
        if (message instanceof HttpRequest request) {
            head = request;
            refusal = request.decoderResult().isSuccess() ? admit(context, request) : null;
            if (refusal != null && HttpUtil.is100ContinueExpected(request)) {
                // It may send its body all the same, or not.
                request.headers().remove(HttpHeaderNames.EXPECT);
                HttpUtil.setKeepAlive(request, false);
            }
        }
        boolean isCopied = reserved > 0 && message instanceof HttpContent piece && piece.content().isReadable();
        super.channelRead(context, isCopied ? copy((HttpContent) message) : message);
        if (message instanceof LastHttpContent) {
            // From here on RequestQueue counts it.
            release();
        }
    }

    /** Reserves memory for a request's body; returns why it is refused, or null. */
    private Refusal admit(ChannelHandlerContext context, HttpRequest request) {
        boolean isKnown = !HttpUtil.isTransferEncodingChunked(request);
        long bytes = isKnown ? HttpUtil.getContentLength(request, 0L) : maxContentLength();
        if (bytes > maxContentLength()) {
            return tooLarge();
        }
        if (BodyBudget.counts(bytes)) {
            if (budget.take(bytes) < 0) {
                budget.giveBack(bytes);
                return Refusal.later("Too many uploads are arriving: try again in a second.").counted("uploads_full");
            }
            reserved = bytes;
            check = context.executor().schedule(() -> checkArrival(context), ARRIVAL_S, TimeUnit.SECONDS);
        }
        return null;
    }

    private Refusal tooLarge() {
        String sentence = "The request is too large: send at most " + maxContentLength() + " bytes.";
        return new Refusal(HttpResponseStatus.REQUEST_ENTITY_TOO_LARGE, sentence).counted("too_large");
    }

    /** Copies a piece into a buffer of its exact size: the one that it arrived in may be much larger. */
    private static HttpContent copy(HttpContent piece) {
        try {
            return piece.replace(Unpooled.copiedBuffer(piece.content()));
        } finally {
            piece.release();
        }
    }

    private void release() {
        if (reserved > 0) {
            check.cancel(false);
            budget.giveBack(reserved);
            reserved = 0;
        }
    }

    /** Refuses a body that is slow while memory is short, and closes the connection. */
    void checkArrival(ChannelHandlerContext context) {
        if (budget.left() < maxContentLength()) {
            HttpUtil.setKeepAlive(head, false);
            String sentence = "The request did not arrive within " + ARRIVAL_S + " s: try again, or send less.";
            fail(context, new Refusal(HttpResponseStatus.REQUEST_TIMEOUT, sentence).counted("slow"));
        } else {
            check = context.executor().schedule(() -> checkArrival(context), ARRIVAL_S, TimeUnit.SECONDS);
        }
    }

    private void fail(ChannelHandlerContext context, Refusal why) {
        FullHttpRequest failed =
                new DefaultFullHttpRequest(
                        head.protocolVersion(), head.method(), head.uri(), Unpooled.EMPTY_BUFFER, head.headers(),
                        EmptyHttpHeaders.INSTANCE);
        failed.setDecoderResult(DecoderResult.failure(why));
        context.fireChannelRead(failed);
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) throws Exception {
        release();
        super.channelInactive(context);
    }

    @Override
    protected boolean isContentLengthInvalid(HttpMessage request, int limit) {
        return refusal != null;
    }

    @Override
    protected void handleOversizedMessage(ChannelHandlerContext context, HttpMessage request) {
        release();
        fail(context, refusal == null ? tooLarge() : refusal);
    }
}
