package digits.server;

import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.channel.group.ChannelGroup;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpStatusClass;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.util.ReferenceCountUtil;
import java.util.ArrayDeque;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

/**
 * Takes the requests of one connection one after the other, measures them, and closes it once they are answered when
 * the server stops.
 *
 * <p>A client may send the next request before it has an answer (pipelining). TorchServe would answer whichever was
 * ready first, and the client would take one answer for another.
 */
final class RequestTracker extends ChannelDuplexHandler {
    private static final Pattern LENGTH = Pattern.compile("\\d{1,18}");
    private static final Set<String> ENDPOINTS = Set.of("predictions", "explanations", "v1", "v2");

    /** Milliseconds for a request that is on its way to an open connection to arrive. */
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
        if (isEnded) {
            ReferenceCountUtil.release(message);
        } else if (!later.isEmpty() || isPending && message instanceof HttpRequest) {
            later.add(message);
        } else {
            take(context, message);
        }
    }

    /** Reads no further while a request waits: what is read would wait in memory. */
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
            // Two servers may disagree about where such a request ends: nothing behind it is one (RFC 9112, 6.1).
            isClosing |= ((HttpRequest) message).headers().contains(HttpHeaderNames.TRANSFER_ENCODING);
            String[] parts = UploadGuard.SEPARATORS.split(((HttpRequest) message).uri(), 3);
            endpoint = parts.length > 1 && ENDPOINTS.contains(parts[1]) ? parts[1] : "other";
            arrived = 0;
            String length = ((HttpRequest) message).headers().get(HttpHeaderNames.CONTENT_LENGTH);
            if (length != null && !LENGTH.matcher(length.trim()).matches()) {
                // Netty takes a sign as well, and then waits, or takes the body for the next request.
                isClosing = true;
                ReferenceCountUtil.release(message);
                String sentence = "Content-Length must be a number of bytes, such as 5.";
                context.channel().writeAndFlush(UploadGuard.error(HttpResponseStatus.BAD_REQUEST, sentence));
                return;
            }
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
                    isEnded = true;
                    forget();
                    HttpUtil.setKeepAlive(answer, false);
                    promise.addListener(ChannelFutureListener.CLOSE);
                } else if (!later.isEmpty()) {
                    // Not from within the write of this answer.
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
