package digits.server;

import io.netty.channel.ChannelHandler.Sharable;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.PrematureChannelClosureException;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpMessage;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpVersion;
import java.io.IOException;
import org.pytorch.serve.util.NettyUtils;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Passes requests through the checks of a port, each of which may answer or refuse one. */
@Sharable
final class RequestChecks extends ChannelInboundHandlerAdapter {
    private static final Logger LOGGER = LoggerFactory.getLogger(RequestChecks.class);

    private final Check[] checks;

    RequestChecks(Check... checks) {
        this.checks = checks;
    }

    /** A check of a whole request. */
    @FunctionalInterface
    interface Check {
        /** Returns the request, or another one in its place, or the answer to it. Throws Refusal. */
        FullHttpMessage apply(FullHttpRequest request);
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        FullHttpRequest request = (FullHttpRequest) message;
        try {
            FullHttpMessage result = checkHead(request);
            for (int i = 0; i < checks.length && result instanceof FullHttpRequest; i++) {
                request = (FullHttpRequest) result;
                result = checks[i].apply(request);
            }
            if (result instanceof FullHttpResponse answer) {
                send(context, request, answer);
            } else {
                context.fireChannelRead(result);
            }
        } catch (Refusal e) {
            send(context, request, e.answer());
        }
    }

    /** Refuses what could not be decoded, and answers a request that concerns the whole server. */
    private static FullHttpMessage checkHead(FullHttpRequest request) {
        if (request.decoderResult().isFailure()) {
            throw Refusal.of(request.decoderResult().cause());
        }
        if (!HeadGuard.isForServer(request)) {
            return request;
        }
        FullHttpResponse answer = new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, HttpResponseStatus.OK);
        answer.headers().set(HttpHeaderNames.ALLOW, "GET, HEAD, POST, PUT, DELETE, OPTIONS");
        return answer;
    }

    private static void send(ChannelHandlerContext context, FullHttpRequest request, FullHttpResponse answer) {
        NettyUtils.sendHttpResponse(context, answer, true);
        request.release();
    }

    /** Logs a client that breaks off its request in one line: TorchServe would print a stack trace. */
    @Override
    public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
        if (cause instanceof PrematureChannelClosureException) {
            LOGGER.warn("{} broke off its request.", context.channel().remoteAddress());
        } else if (cause instanceof IOException) {
            // A request that has arrived is in access.log.
            context.close();
        } else {
            context.fireExceptionCaught(cause);
        }
    }
}
