import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelPipeline;
import io.netty.channel.EventLoopGroup;
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
import java.security.GeneralSecurityException;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.ParseException;
import org.pytorch.serve.ModelServer;
import org.pytorch.serve.metrics.MetricCache;
import org.pytorch.serve.servingsdk.impl.PluginsManager;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.Connector;
import org.pytorch.serve.util.ConnectorType;
import org.pytorch.serve.util.NettyUtils;
import org.pytorch.serve.util.TokenAuthorization;

/**
 * TorchServe, with an inference port that answers every malformed upload with a clear 4xx.
 *
 * <p>TorchServe 0.12 parses a body of type application/x-www-form-urlencoded, which is what curl says of
 * --data-binary, and answers 500 when it is a picture; so it does for a broken multipart form. A body
 * that is too large gets a 413 without a word. None of this reaches the handler in Python.
 */
public final class DigitServer extends ModelServer {
    private DigitServer(ConfigManager config) {
        super(config);
    }

    /** Starts what {@link ModelServer#main} starts, with the same arguments. */
    public static void main(String[] args) {
        try {
            ConfigManager.init(
                    new ConfigManager.Arguments(
                            new DefaultParser().parse(ConfigManager.Arguments.getOptions(), args)));
            TokenAuthorization.init();
            PluginsManager.getInstance().initialize();
            MetricCache.init();
            DigitServer server = new DigitServer(ConfigManager.getInstance());
            Runtime.getRuntime().addShutdownHook(new Thread(server::stop));
            server.startAndWait();
        } catch (Exception | ExceptionInInitializerError e) {
            System.err.println("TorchServe cannot run: " + e);
            // Stopping what did not start would only add a stack trace.
            Runtime.getRuntime().halt(1);
        } finally {
            System.exit(1);
        }
    }

    @Override
    public ChannelFuture initializeServer(
            Connector connector, EventLoopGroup serverGroup, EventLoopGroup workerGroup, ConnectorType type)
            throws InterruptedException, IOException, GeneralSecurityException {
        ChannelFuture closed = super.initializeServer(connector, serverGroup, workerGroup, type);
        if (type == ConnectorType.INFERENCE_CONNECTOR) {
            closed.channel().pipeline().addFirst(new Acceptor());
        }
        return closed;
    }

    /** Sees each new connection before TorchServe does. */
    private static final class Acceptor extends ChannelInboundHandlerAdapter {
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

    /** Passes a body on as it came where TorchServe would take it for a web form; refuses what would be a 500. */
    private static final class Uploads extends ChannelInboundHandlerAdapter {
        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            FullHttpRequest request = (FullHttpRequest) message;
            if (request.uri().split("\\?", 2)[0].indexOf('/') < 0) {
                refuse(context, request, HttpResponseStatus.NOT_FOUND, "The path of the request must begin with /.");
            } else if (isBroken(request)) {
                refuse(
                        context,
                        request,
                        HttpResponseStatus.BAD_REQUEST,
                        "The multipart form is malformed: send one picture in a named field.");
            } else {
                if (HttpHeaderValues.APPLICATION_X_WWW_FORM_URLENCODED.contentEqualsIgnoreCase(
                        HttpUtil.getMimeType(request))) {
                    request.headers().set(HttpHeaderNames.CONTENT_TYPE, HttpHeaderValues.APPLICATION_OCTET_STREAM);
                }
                context.fireChannelRead(message);
            }
        }

        private static void refuse(
                ChannelHandlerContext context, FullHttpRequest request, HttpResponseStatus status, String sentence) {
            NettyUtils.sendHttpResponse(context, error(status, sentence), false);
            request.release();
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
    }
}
