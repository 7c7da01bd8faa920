package digits.server;

import com.google.gson.JsonParseException;
import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.pytorch.serve.http.ErrorResponse;

/**
 * Rewrites TorchServe's errors as {"error": "..."}, like the handler's, and sends only the headers that a client needs.
 *
 * <p>A connection stays open after an error: the request has been read to its end.
 */
final class AnswerWriter extends ChannelDuplexHandler {
    static final String NO_WORKER = "No worker of this model is running: try again in a few seconds.";

    private static final int FIRST_ERROR = 400;

    private HttpMethod method = HttpMethod.POST;
    private HttpVersion version = HttpVersion.HTTP_1_1;
    private boolean isFromPage;
    private boolean isKeptAlive;

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        FullHttpRequest request = (FullHttpRequest) message;
        method = request.method();
        version = request.protocolVersion();
        isFromPage = request.headers().contains(HttpHeaderNames.ORIGIN);
        isKeptAlive = HttpUtil.isKeepAlive(request);
        context.fireChannelRead(message);
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        if (!(message instanceof FullHttpResponse)) {
            context.write(message, promise);
            return;
        }
        FullHttpResponse answer = (FullHttpResponse) message;
        ChannelPromise written = promise;
        if (answer.status().code() >= FIRST_ERROR) {
            answer = rewrite(answer);
            HttpUtil.setContentLength(answer, answer.content().readableBytes());
            if (answer.status().equals(HttpResponseStatus.SERVICE_UNAVAILABLE)
                    && !answer.headers().contains(HttpHeaderNames.RETRY_AFTER)) {
                answer.headers().set(HttpHeaderNames.RETRY_AFTER, 5);
            }
            // TorchServe closes the connection when its promise completes.
            written = isKeptAlive ? context.newPromise() : promise;
        }
        removeHeaders(answer.headers());
        context.write(answer, written);
    }

    private void removeHeaders(HttpHeaders headers) {
        headers.remove(HttpHeaderNames.PRAGMA).remove(HttpHeaderNames.EXPIRES).remove(HttpHeaderNames.CACHE_CONTROL);
        if (!HttpMethod.POST.equals(method)) {
            headers.set(HttpHeaderNames.CACHE_CONTROL, HttpHeaderValues.NO_STORE);
        }
        if (!isFromPage) {
            headers.remove(HttpHeaderNames.ACCESS_CONTROL_ALLOW_ORIGIN);
        }
        if (!isFromPage || !HttpMethod.OPTIONS.equals(method)) {
            headers.remove(HttpHeaderNames.ACCESS_CONTROL_ALLOW_METHODS);
            headers.remove(HttpHeaderNames.ACCESS_CONTROL_ALLOW_HEADERS);
        }
        // None for HTTP/1.1, unless the connection is closed.
        HttpUtil.setKeepAlive(headers, version, isKeptAlive);
    }

    private static FullHttpResponse rewrite(FullHttpResponse answer) {
        ErrorResponse given;
        try {
            given = Answers.GSON.fromJson(answer.content().toString(StandardCharsets.UTF_8), ErrorResponse.class);
        } catch (JsonParseException e) {
            given = null;
        }
        if (given == null || given.getMessage() == null) {
            // Not TorchServe's format.
            return answer;
        }
        String sentence = given.getMessage().contains("has no worker to serve") ? NO_WORKER : given.getMessage();
        Map<String, String> error = Map.of("error", sentence.endsWith(".") ? sentence : sentence + ".");
        FullHttpResponse rewritten =
                answer.replace(Unpooled.copiedBuffer(Answers.GSON.toJson(error), StandardCharsets.UTF_8));
        answer.release();
        return rewritten;
    }
}
