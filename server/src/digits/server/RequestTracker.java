import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpStatusClass;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.LastHttpContent;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** Measures the requests of one connection, and closes it after an answer when the server stops. */
final class Watch extends ChannelDuplexHandler {
    private static final Set<Watch> OPEN = ConcurrentHashMap.newKeySet();
    private static final Set<String> ENDPOINTS = Set.of("predictions", "explanations", "v1", "v2");

    /** Milliseconds in which a request that is on its way to an open connection arrives. */
    private static final int LATEST_MS = 500;

    private static volatile boolean isStopping;

    private ChannelHandlerContext connection;
    private boolean isAsked;
    private long arrived;
    private String endpoint = "";

    /** Answers what was asked, and closes every connection, until a time in milliseconds since 1970. */
    static void drain(long deadline) throws InterruptedException {
        isStopping = true;
        Thread.sleep(LATEST_MS);
        for (Watch each : OPEN) {
            each.connection.executor().execute(each::closeUnlessAsked);
        }
        while (!OPEN.isEmpty() && System.currentTimeMillis() < deadline) {
            Thread.sleep(10);
        }
    }

    private void closeUnlessAsked() {
        if (!isAsked) {
            connection.close();
        }
    }

    @Override
    public void handlerAdded(ChannelHandlerContext context) {
        connection = context;
        OPEN.add(this);
    }

    @Override
    public void handlerRemoved(ChannelHandlerContext context) {
        OPEN.remove(this);
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        if (message instanceof HttpRequest) {
            isAsked = true;
            String[] parts = Uploads.SEPARATORS.split(((HttpRequest) message).uri(), 3);
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
                answered(answer, promise);
            }
        }
        context.write(message, promise);
    }

    private void answered(FullHttpResponse answer, ChannelPromise promise) {
        isAsked = false;
        Metrics.tell("digit_requests_total", 1, endpoint, String.valueOf(answer.status().code()));
        if (arrived > 0) {
            Metrics.tell("digit_request_ms", (System.nanoTime() - arrived) / 1e6, endpoint);
        }
        if (isStopping) {
            HttpUtil.setKeepAlive(answer, false);
            promise.addListener(ChannelFutureListener.CLOSE);
        }
    }
}
