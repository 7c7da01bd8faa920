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
import java.util.Set;
import java.util.concurrent.TimeUnit;

/**
 * Processes the requests of a connection one at a time, measures them, and closes the connection on shutdown.
 *
 * <p>Clients may pipeline requests. TorchServe would send the answers in the order in which they are ready, and the
 * client would mistake one for another.
 */
final class RequestTracker extends ChannelDuplexHandler {
    private static final Set<String> ENDPOINTS = Set.of("predictions", "explanations", "v1", "v2");

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
    private boolean isReadPending;
    private boolean isEnded;
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

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        if (isEnded) {
            ReferenceCountUtil.release(message);
        } else if (!later.isEmpty() || isPending && message instanceof HttpRequest) {
            later.add(message);
        } else {
            take(context, message);
        }
    }

    /** Stops reading while a request waits: further input would pile up in memory. */
    @Override
    public void read(ChannelHandlerContext context) {
        if (later.isEmpty()) {
            context.read();
        } else {
            isReadPending = true;
        }
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        forget();
        context.fireChannelInactive();
    }

    private void forget() {
        later.forEach(ReferenceCountUtil::release);
        later.clear();
    }

    private void takeNext(ChannelHandlerContext context) {
        while (!later.isEmpty() && !(isPending && later.peek() instanceof HttpRequest)) {
            take(context, later.remove());
            context.fireChannelReadComplete();
        }
        if (later.isEmpty() && isReadPending) {
            isReadPending = false;
            context.read();
        }
    }

    private void take(ChannelHandlerContext context, Object message) {
        if (message instanceof HttpRequest) {
            isPending = true;
            isClosing |= !HttpUtil.isKeepAlive((HttpRequest) message);
            String[] parts = UploadGuard.SEPARATORS.split(((HttpRequest) message).uri(), 3);
            endpoint = parts.length > 1 && ENDPOINTS.contains(parts[1]) ? parts[1] : "other";
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
        if (message instanceof FullHttpResponse) {
            FullHttpResponse answer = (FullHttpResponse) message;
            if (answer.status().codeClass() != HttpStatusClass.INFORMATIONAL) {
                recordAnswer(answer);
                if (isClosing) {
                    isEnded = true;
                    forget();
                    HttpUtil.setKeepAlive(answer, false);
                    promise.addListener(ChannelFutureListener.CLOSE);
                } else if (!later.isEmpty()) {
                    // Only after this write has returned.
                    context.executor().execute(() -> takeNext(context));
                }
            }
        }
        context.write(message, promise);
    }

    private void recordAnswer(FullHttpResponse answer) {
        isPending = false;
        Metrics.REQUESTS.labels(endpoint, String.valueOf(answer.status().code())).inc();
        if (arrived > 0) {
            Metrics.REQUEST_MS.labels(endpoint).observe((System.nanoTime() - arrived) / 1e6);
        }
    }
}
