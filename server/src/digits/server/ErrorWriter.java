package digits.server;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import java.nio.charset.StandardCharsets;

/**
 * Rewrites TorchServe's errors as {"error": "..."}, like the handler's, and keeps the connection open.
 *
 * <p>That is safe because the request has been read to its end.
 */
final class ErrorWriter extends ChannelDuplexHandler {
    static final String NO_WORKER = "No worker of this model is running: try again in a few seconds.";

    private static final int FIRST_ERROR = 400;

    private boolean isKeptAlive;

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        isKeptAlive = HttpUtil.isKeepAlive((FullHttpRequest) message);
        context.fireChannelRead(message);
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        if (!(message instanceof FullHttpResponse) || ((FullHttpResponse) message).status().code() < FIRST_ERROR) {
            context.write(message, promise);
            return;
        }
        FullHttpResponse answer = rewrite((FullHttpResponse) message);
        HttpUtil.setContentLength(answer, answer.content().readableBytes());
        HttpUtil.setKeepAlive(answer, isKeptAlive);
        if (answer.status().equals(HttpResponseStatus.SERVICE_UNAVAILABLE)
                && !answer.headers().contains(HttpHeaderNames.RETRY_AFTER)) {
            answer.headers().set(HttpHeaderNames.RETRY_AFTER, 5);
        }
        // TorchServe closes the connection when its promise completes.
        context.write(answer, isKeptAlive ? context.newPromise() : promise);
    }

    private static FullHttpResponse rewrite(FullHttpResponse answer) {
        try {
            JsonElement text = JsonParser.parseString(answer.content().toString(StandardCharsets.UTF_8));
            JsonElement message = text.isJsonObject() ? text.getAsJsonObject().get("message") : null;
            if (message != null && message.isJsonPrimitive()) {
                String given = message.getAsString();
                String sentence = given.contains("has no worker to serve") ? NO_WORKER : given;
                JsonObject error = new JsonObject();
                error.addProperty("error", sentence.endsWith(".") ? sentence : sentence + ".");
                ByteBuf body = Unpooled.copiedBuffer(error.toString(), StandardCharsets.UTF_8);
                FullHttpResponse rewritten = answer.replace(body);
                answer.release();
                return rewritten;
            }
        } catch (JsonParseException e) {
            // Not TorchServe's format.
        }
        return answer;
    }
}
