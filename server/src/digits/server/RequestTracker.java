package digits.server;

import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.channel.group.ChannelGroup;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpObject;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpStatusClass;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.util.ReferenceCountUtil;
import java.util.ArrayDeque;
import java.util.Queue;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Processes the requests of a connection one at a time, measures them, and closes the connection on shutdown.
 *
 * <p>Clients may pipeline requests. TorchServe would send the answers in the order in which they are ready, and the
 * client would mistake one for another. (Netty's FlowControlHandler would take two system calls for each request.)
 */
final class RequestTracker extends ChannelDuplexHandler {
    private static final Pattern ENDPOINT = Pattern.compile("/(predictions|explanations|v1|v2)(?:[/:?].*)?");

    /** Milliseconds for requests already on the network to arrive. */
    private static final int ARRIVAL_MS = 500;

    /** When a connection is to be closed. */
    private enum Close {
        AFTER_ANSWER,
        WHEN_IDLE
    }

    private final ChannelGroup connections;
    private final Queue<Object> later = new ArrayDeque<>();
    private boolean isPending;
    private boolean isClosing;
    private long arrived;
    private String endpoint = "";

    RequestTracker(ChannelGroup connections) {
        this.connections = connections;
    }

    /** Answers pending requests and closes every connection, by a deadline in milliseconds since 1970. */
    static void drain(ChannelGroup connections, long deadline) throws InterruptedException {
        // As events: only a connection's event loop knows whether a request has just arrived.
        connections.forEach(each -> each.pipeline().fireUserEventTriggered(Close.AFTER_ANSWER));
        Thread.sleep(ARRIVAL_MS);
        connections.forEach(each -> each.pipeline().fireUserEventTriggered(Close.WHEN_IDLE));
        connections.newCloseFuture().await(deadline - System.currentTimeMillis(), TimeUnit.MILLISECONDS);
    }

    @Override
    public void userEventTriggered(ChannelHandlerContext context, Object event) {
        isClosing |= event instanceof Close;
        if (event == Close.WHEN_IDLE && !isPending) {
            context.close();
        }
        context.fireUserEventTriggered(event);
    }

    @Override
    public void handlerAdded(ChannelHandlerContext context) {
        connections.add(context.channel());
    }

    /** Keeps a request that comes before the previous one is answered, and stops reading. */
    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        if (later.isEmpty() && !(isPending && message instanceof HttpRequest)) {
            take(context, message);
        } else {
            later.add(message);
            context.channel().config().setAutoRead(false);
        }
    }

    private void takeNext(ChannelHandlerContext context) {
        while (!later.isEmpty() && !(isPending && later.peek() instanceof HttpRequest)) {
            take(context, later.remove());
        }
        context.channel().config().setAutoRead(later.isEmpty());
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        later.forEach(ReferenceCountUtil::release);
        later.clear();
        context.fireChannelInactive();
    }

    private void take(ChannelHandlerContext context, Object message) {
        if (message instanceof HttpRequest request) {
            Matcher known = ENDPOINT.matcher(request.uri());
            endpoint = known.matches() ? known.group(1) : "other";
            isPending = true;
            isClosing |= !HttpUtil.isKeepAlive(request);
            arrived = 0;
        }
        // Where the next request would begin is unknown.
        isClosing |= ((HttpObject) message).decoderResult().isFailure();
        if (message instanceof LastHttpContent) {
            arrived = System.nanoTime();
        }
        context.fireChannelRead(message);
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        if (message instanceof FullHttpResponse answer
                && answer.status().codeClass() != HttpStatusClass.INFORMATIONAL) {
            recordAnswer(answer);
            if (isClosing) {
                HttpUtil.setKeepAlive(answer, false);
                promise.addListener(ChannelFutureListener.CLOSE);
            } else {
                isPending = false;
                if (!later.isEmpty()) {
                    // Only after this write has returned.
                    context.executor().execute(() -> takeNext(context));
                }
            }
        }
        context.write(message, promise);
    }

    private void recordAnswer(FullHttpResponse answer) {
        Metrics.REQUESTS.labels(endpoint, String.valueOf(answer.status().code())).inc();
        if (arrived > 0) {
            Metrics.REQUEST_MS.labels(endpoint).observe((System.nanoTime() - arrived) / 1e6);
        }
    }
}
