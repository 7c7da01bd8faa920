package digits.server;

import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.http.HttpContent;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.util.ReferenceCountUtil;
import io.netty.util.concurrent.ScheduledFuture;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.util.ConfigManager;

/**
 * Lets a connection's requests in only when there is memory for their bodies.
 *
 * <p>Until then the connection is not read, so that the client waits: Java without memory would break every request.
 */
final class BodyGate extends ChannelInboundHandlerAdapter {
    /** For a body to arrive in, while others wait for the memory that it holds. */
    private static final int ARRIVAL_S = 30;

    /** How the connection stands to the budget. */
    private enum State {
        OUTSIDE,
        WAITING,
        INSIDE
    }

    private final BodyBudget budget;
    private final long largest = ConfigManager.getInstance().getMaxRequestSize();

    /** What has been read from the connection while its request waits, the request's head first. */
    private final Deque<Object> held = new ArrayDeque<>();
    private ChannelHandlerContext context;
    private ScheduledFuture<?> check;
    private State state = State.OUTSIDE;
    private volatile long bytes;

    BodyGate(BodyBudget budget) {
        this.budget = budget;
    }

    /** Returns the memory for the body that arrives or waits; 0 if it is not counted. */
    long bytes() {
        return bytes;
    }

    @Override
    public void handlerAdded(ChannelHandlerContext added) {
        context = added;
    }

    @Override
    public void channelRead(ChannelHandlerContext ignored, Object message) {
        if (state == State.WAITING) {
            held.add(message);
        } else {
            pass(message);
        }
    }

    /** Passes a message on, unless it is the head of a request that has to wait. */
    private void pass(Object message) {
        if (message instanceof HttpRequest && state == State.OUTSIDE) {
            bytes = count((HttpRequest) message);
            if (bytes > 0 && !budget.enter(this)) {
                state = State.WAITING;
                held.addFirst(message);
                context.channel().config().setAutoRead(false);
                return;
            }
            enter();
        }
        context.fireChannelRead(message instanceof HttpContent && bytes > 0 ? copy((HttpContent) message) : message);
        if (message instanceof LastHttpContent) {
            leave();
        }
    }

    /** Returns a piece of a body in just the memory that it needs: it has come in a buffer that may be much larger. */
    private static HttpContent copy(HttpContent piece) {
        try {
            return piece.replace(Unpooled.copiedBuffer(piece.content()));
        } finally {
            piece.release();
        }
    }

    /** Returns the size of a request's body, or the largest one if the request does not say. */
    private long count(HttpRequest request) {
        long size = HttpUtil.isTransferEncodingChunked(request) ? largest : HttpUtil.getContentLength(request, 0L);
        // One that is too large is refused, not kept.
        return BodyBudget.counts(size) && size <= largest ? size : 0;
    }

    private void enter() {
        state = State.INSIDE;
        if (bytes > 0) {
            check = context.executor().schedule(this::checkArrival, ARRIVAL_S, TimeUnit.SECONDS);
        }
    }

    /** Gives the memory back of a body that has arrived; a request that waits for a worker is counted by its queue. */
    private void leave() {
        if (state == State.INSIDE && bytes > 0) {
            check.cancel(false);
            budget.release(bytes);
        }
        state = State.OUTSIDE;
    }

    /** Refuses a request that takes too long, if others wait. */
    void checkArrival() {
        if (budget.isShort()) {
            Metrics.countRefused("slow");
            String sentence = "The request did not arrive within " + ARRIVAL_S + " s: try again, or send less.";
            context.writeAndFlush(UploadGuard.ownError(HttpResponseStatus.REQUEST_TIMEOUT, sentence))
                    .addListener(ChannelFutureListener.CLOSE);
        } else {
            check = context.executor().schedule(this::checkArrival, ARRIVAL_S, TimeUnit.SECONDS);
        }
    }

    /** Lets the request in that waits, for which the budget has counted its bytes; any thread may call this. */
    void open() {
        context.executor().execute(() -> {
            enter();
            if (!context.channel().isActive()) {
                close();
            }
            while (!held.isEmpty() && state != State.WAITING) {
                pass(held.poll());
            }
            context.channel().config().setAutoRead(state != State.WAITING);
        });
    }

    @Override
    public void channelInactive(ChannelHandlerContext ignored) {
        if (state != State.WAITING || budget.forget(this)) {
            close();
        }
        context.fireChannelInactive();
    }

    private void close() {
        leave();
        held.forEach(ReferenceCountUtil::release);
        held.clear();
    }
}
