package digits.server;

import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.channel.group.ChannelGroup;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpStatusClass;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.LastHttpContent;
import java.util.Set;
import java.util.concurrent.TimeUnit;

/** Measures the requests of one connection, and closes it once they are answered when the server stops. */
final class RequestTracker extends ChannelDuplexHandler {
    private static final Set<String> ENDPOINTS = Set.of("predictions", "explanations", "v1", "v2");

    /** Milliseconds for a request that is on its way to an open connection to arrive. */
    private static final int ARRIVAL_MS = 500;

    /** When a connection is to be closed. */
    private enum Close {
        AFTER_ANSWER,
        WHEN_IDLE
    }

    private final ChannelGroup connections;
    private boolean isPending;
    private boolean isClosing;
    private long arrived;
    private String endpoint = "";

    RequestTracker(ChannelGroup connections) {
        this.connections = connections;
    }

    /** Answers what was asked and closes every connection, by a time in milliseconds since 1970. */
    static void drain(ChannelGroup connections, long deadline) throws InterruptedException {
        // As events, since only a connection's own thread knows whether a request has just arrived.
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
        if (message instanceof HttpRequest) {
            isPending = true;
            String[] parts = UploadGuard.SEPARATORS.split(((HttpRequest) message).uri(), 3);
            endpoint = parts.length > 1 && ENDPOINTS.contains(parts[1]) ? parts[1] : "other";
            arrived = 0;
        }
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
                    HttpUtil.setKeepAlive(answer, false);
                    promise.addListener(ChannelFutureListener.CLOSE);
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
