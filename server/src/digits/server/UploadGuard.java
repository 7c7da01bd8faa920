import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelOption;
import io.netty.channel.ChannelPipeline;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.DefaultHttpRequest;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpMessage;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.multipart.DefaultHttpDataFactory;
import io.netty.handler.codec.http.multipart.HttpPostRequestDecoder;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.regex.Pattern;
import org.pytorch.serve.archive.model.ModelVersionNotFoundException;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.NettyUtils;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;

/** Passes a body on as it came where TorchServe would take it for a web form; refuses what would be a 500. */
final class Uploads extends ChannelInboundHandlerAdapter {
    /** Places in the queue for requests that find the last one free at the same time, on several threads. */
    private static final int SPARE_PLACES = 64;

    /** What parts of a path lie between, a model's name among them. */
    static final Pattern SEPARATORS = Pattern.compile("[/:?]");

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        FullHttpRequest request = (FullHttpRequest) message;
        if (request.uri().split("\\?", 2)[0].indexOf('/') < 0) {
            refuse(
                    context,
                    request,
                    error(HttpResponseStatus.NOT_FOUND, "The path of the request must begin with /."));
        } else if (isFull(request)) {
            Metrics.tellRefused("queue_full");
            FullHttpResponse full =
                    error(
                            HttpResponseStatus.SERVICE_UNAVAILABLE,
                            "Too many requests are waiting: try again in a second.");
            full.headers().set(HttpHeaderNames.RETRY_AFTER, 1);
            refuse(context, request, full);
        } else if (isBroken(request)) {
            Metrics.tellRefused("malformed_form");
            refuse(
                    context,
                    request,
                    error(
                            HttpResponseStatus.BAD_REQUEST,
                            "The multipart form is malformed: send one picture in a named field."));
        } else {
            if (HttpHeaderValues.APPLICATION_X_WWW_FORM_URLENCODED.contentEqualsIgnoreCase(
                    HttpUtil.getMimeType(request))) {
                request.headers().set(HttpHeaderNames.CONTENT_TYPE, HttpHeaderValues.APPLICATION_OCTET_STREAM);
            }
            context.fireChannelRead(message);
        }
    }

    /** Drops a connection that its client broke off: TorchServe writes a stack trace for each. */
    @Override
    public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
        if (cause instanceof IOException) {
            context.close();
        } else {
            context.fireExceptionCaught(cause);
        }
    }

    private static void refuse(
            ChannelHandlerContext context, FullHttpRequest request, FullHttpResponse answer) {
        NettyUtils.sendHttpResponse(context, answer, false);
        request.release();
    }

    /** Tells whether no more requests may wait; TorchServe would say that the model has no worker. */
    private static boolean isFull(FullHttpRequest request) {
        for (String part : SEPARATORS.split(request.uri())) {
            try {
                Model model = ModelManager.getInstance().getModel(part, null);
                if (model != null) {
                    return model.getJobQueueRemainingCapacity() <= SPARE_PLACES;
                }
            } catch (ModelVersionNotFoundException e) {
                // What is asked for is not there: TorchServe says so.
            }
        }
        return false;
    }

    private static boolean isBroken(FullHttpRequest request) {
        HttpPostRequestDecoder form = null;
        try {
            if (!HttpPostRequestDecoder.isMultipart(request)) {
                return false;
            }
            // The body is offered afterwards: a decoder that fails while it is made cannot be destroyed.
            HttpRequest head =
                    new DefaultHttpRequest(
                            request.protocolVersion(), request.method(), request.uri(), request.headers());
            form = new HttpPostRequestDecoder(new DefaultHttpDataFactory(false), head);
            form.offer(request.duplicate());
            while (form.hasNext()) {
                form.next().release();
            }
            return false;
        } catch (HttpPostRequestDecoder.EndOfDataDecoderException e) {
            return false;
        } catch (RuntimeException e) {
            // Whatever else Netty's parser throws at a form (errors of its own, of indices, of charsets).
            return true;
        } finally {
            if (form != null) {
                form.destroy();
            }
        }
    }

    /** Sees each new connection before TorchServe does. */
    static final class Acceptor extends ChannelInboundHandlerAdapter {
        @Override
        public void channelRead(ChannelHandlerContext context, Object connection) {
            ((Channel) connection).pipeline().addLast(new Amender());
            context.fireChannelRead(connection);
        }
    }

    /** Amends a connection's pipeline once TorchServe has set it up, and leaves it. */
    private static final class Amender extends ChannelInboundHandlerAdapter {
        @Override
        public void channelActive(ChannelHandlerContext context) {
            ChannelPipeline pipeline = context.pipeline();
            // TorchServe's setting makes the system drop what it has not yet sent when a connection is closed.
            context.channel().config().setOption(ChannelOption.SO_LINGER, -1);
            pipeline.addAfter("http", "watch", new Watch());
            pipeline.replace("aggregator", "aggregator", new Aggregator());
            pipeline.addAfter("aggregator", "uploads", new Uploads());
            pipeline.remove(this);
            context.fireChannelActive();
        }
    }

    /** Collects a request's body, and says how large one may be. */
    private static final class Aggregator extends HttpObjectAggregator {
        Aggregator() {
            super(ConfigManager.getInstance().getMaxRequestSize());
        }

        /** Leaves a client that asks before it sends too much to handleOversizedMessage as well. */
        @Override
        protected Object newContinueResponse(HttpMessage request, int limit, ChannelPipeline pipeline) {
            return isContentLengthInvalid(request, limit)
                    ? null
                    : super.newContinueResponse(request, limit, pipeline);
        }

        /** Answers at once and goes on reading: closing while the client sends would lose the answer. */
        @Override
        protected void handleOversizedMessage(ChannelHandlerContext context, HttpMessage request) {
            Metrics.tellRefused("too_large");
            FullHttpResponse answer =
                    error(
                            HttpResponseStatus.REQUEST_ENTITY_TOO_LARGE,
                            "The request is too large: send at most " + maxContentLength() + " bytes.");
            HttpUtil.setContentLength(answer, answer.content().readableBytes());
            String page = ConfigManager.getInstance().getCorsAllowedOrigin();
            if (page != null) {
                answer.headers().set(HttpHeaderNames.ACCESS_CONTROL_ALLOW_ORIGIN, page);
            }
            boolean waiting = HttpUtil.is100ContinueExpected(request);
            context.writeAndFlush(answer)
                    .addListener(waiting ? ChannelFutureListener.CLOSE : ChannelFutureListener.CLOSE_ON_FAILURE);
        }
    }

    /** Returns an answer of the form that the handler gives to a bad picture. */
    private static FullHttpResponse error(HttpResponseStatus status, String sentence) {
        FullHttpResponse answer =
                new DefaultFullHttpResponse(
                        HttpVersion.HTTP_1_1,
                        status,
                        Unpooled.copiedBuffer("{\"error\": \"" + sentence + "\"}", StandardCharsets.UTF_8));
        answer.headers().set(HttpHeaderNames.CONTENT_TYPE, HttpHeaderValues.APPLICATION_JSON);
        return answer;
    }
}
