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
 * Admits a request only when there is memory for its body.
 *
 * <p>Until then the connection is not read and the client waits. Running out of memory would fail every request.
 */
final class BodyGate extends ChannelInboundHandlerAdapter {
    /** Seconds a body may take to arrive while others wait for its memory. */
    private static final int ARRIVAL_S = 30;

    /** Whether the connection's request holds memory of the budget. */
    private enum State {
        OUTSIDE,
        WAITING,
        INSIDE
    }

    private final BodyBudget budget;
    private final long largest = ConfigManager.getInstance().getMaxRequestSize();

    /** Messages read while the request waits, its head first. */
    private final Deque<Object> held = new ArrayDeque<>();
    private ChannelHandlerContext context;
    private ScheduledFuture<?> check;
    private State state = State.OUTSIDE;
    private volatile long bytes;

    BodyGate(BodyBudget budget) {
        this.budget = budget;
    }

    /** Returns the size of the arriving or waiting body; 0 if it is not counted. */
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

    /** Passes a message on, or starts waiting if it is the head of a request for which there is no room. */
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

    /** Copies a chunk into a buffer of its exact size: the one that it arrived in may be much larger. */
    private static HttpContent copy(HttpContent piece) {
        try {
            return piece.replace(Unpooled.copiedBuffer(piece.content()));
        } finally {
            piece.release();
        }
    }

    /** Returns the size of a request's body, or the limit if the size is unknown. */
    private long count(HttpRequest request) {
        long size = HttpUtil.isTransferEncodingChunked(request) ? largest : HttpUtil.getContentLength(request, 0L);
        // A larger one is refused and never held.
        return BodyBudget.counts(size) && size <= largest ? size : 0;
    }

    private void enter() {
        state = State.INSIDE;
        if (bytes > 0) {
            check = context.executor().schedule(this::checkArrival, ARRIVAL_S, TimeUnit.SECONDS);
        }
    }

    /** Releases the memory of a complete body: from here on RequestQueue counts it. */
    private void leave() {
        if (state == State.INSIDE && bytes > 0) {
            check.cancel(false);
            budget.release(bytes);
        }
        state = State.OUTSIDE;
    }

    /** Refuses a request that is too slow while others wait. */
    void checkArrival() {
        if (budget.isShort()) {
            Metrics.countRefused("slow");
            String sentence = "The request did not arrive within " + ARRIVAL_S + " s: try again, or send less.";
            context.writeAndFlush(Answers.ownError(HttpResponseStatus.REQUEST_TIMEOUT, sentence))
                    .addListener(ChannelFutureListener.CLOSE);
        } else {
            check = context.executor().schedule(this::checkArrival, ARRIVAL_S, TimeUnit.SECONDS);
        }
    }

    /** Admits the waiting request, whose bytes are reserved by now; may be called from any thread. */
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
