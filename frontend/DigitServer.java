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
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingDeque;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.ParseException;
import org.pytorch.serve.ModelServer;
import org.pytorch.serve.archive.DownloadArchiveException;
import org.pytorch.serve.archive.model.ModelArchive;
import org.pytorch.serve.archive.model.ModelException;
import org.pytorch.serve.archive.model.ModelVersionNotFoundException;
import org.pytorch.serve.http.messages.RegisterModelRequest;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.metrics.MetricCache;
import org.pytorch.serve.servingsdk.impl.PluginsManager;
import org.pytorch.serve.snapshot.InvalidSnapshotException;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.Connector;
import org.pytorch.serve.util.ConnectorType;
import org.pytorch.serve.util.NettyUtils;
import org.pytorch.serve.util.ServerGroups;
import org.pytorch.serve.util.TokenAuthorization;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.WorkLoadManager;
import org.pytorch.serve.wlm.WorkerInitializationException;

/**
 * TorchServe, whose workers wait for no second request, with an inference port that answers every malformed
 * upload with a clear 4xx.
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

    /**
     * Starts the ports, and then the models of the configuration, whose workers take what waits for them at once.
     *
     * <p>Unlike TorchServe's own, this fails if a model cannot be registered.
     */
    @Override
    public List<ChannelFuture> startRESTserver()
            throws InterruptedException, IOException, GeneralSecurityException, InvalidSnapshotException {
        ConfigManager config = ConfigManager.getInstance();
        String models = config.getLoadModels();
        if (models == null || !models.matches("[^=,]+=[^=,]+(,[^=,]+=[^=,]+)*")) {
            throw new IOException("load_models of the configuration must be NAME=FILE.mar, several with commas.");
        }
        config.setProperty("load_models", "");
        List<ChannelFuture> ports = super.startRESTserver();
        config.setProperty("load_models", models);
        ModelManager manager = ModelManager.getInstance();
        try {
            EventLoopGroup group = ((ServerGroups) field(ModelServer.class, "serverGroups").get(this)).getBackendGroup();
            field(ModelManager.class, "wlm").set(manager, new Workers(config, group));
            for (String model : models.split(",")) {
                String[] pair = model.split("=");
                load(manager, config, pair[0], pair[1]);
            }
        } catch (ModelException
                | DownloadArchiveException
                | WorkerInitializationException
                | ReflectiveOperationException e) {
            throw new IOException(e.getMessage(), e);
        }
        return ports;
    }

    private static void load(ModelManager manager, ConfigManager config, String name, String file)
            throws ModelException, DownloadArchiveException, WorkerInitializationException, IOException,
                    InterruptedException {
        // Negative: what the archive's model-config.yaml says comes first.
        ModelArchive archive =
                manager.registerModel(
                        file,
                        name,
                        null,
                        null,
                        -RegisterModelRequest.DEFAULT_BATCH_SIZE,
                        -RegisterModelRequest.DEFAULT_MAX_BATCH_DELAY,
                        config.getDefaultResponseTimeout(),
                        config.getDefaultStartupTimeout(),
                        name,
                        false,
                        false,
                        false);
        manager.updateModel(
                archive.getModelName(),
                archive.getModelVersion(),
                archive.getModelConfig().getMinWorkers(),
                archive.getModelConfig().getMaxWorkers(),
                true,
                false);
        manager.getStartupModels().add(archive.getModelName());
    }

    private static Field field(Class<?> owner, String name) throws NoSuchFieldException {
        Field field = owner.getDeclaredField(name);
        field.setAccessible(true);
        return field;
    }

    /** Starts and ends workers as TorchServe does, which wait for no second request when one is there. */
    private static final class Workers extends WorkLoadManager {
        Workers(ConfigManager config, EventLoopGroup group) {
            super(config, group);
        }

        @Override
        public CompletableFuture<Integer> modelChanged(Model model, boolean isStartup, boolean isCleanUp) {
            try {
                @SuppressWarnings("unchecked")
                Map<String, LinkedBlockingDeque<Job>> queues =
                        (Map<String, LinkedBlockingDeque<Job>>) field(Model.class, "jobsDb").get(model);
                // This comes before a model's first worker, and without workers TorchServe queues nothing.
                queues.computeIfPresent(
                        Model.DEFAULT_DATA_QUEUE,
                        (name, queue) -> queue instanceof Line ? queue : new Line(queue.remainingCapacity()));
            } catch (ReflectiveOperationException e) {
                throw new IllegalStateException(e);
            }
            return super.modelChanged(model, isStartup, isCleanUp);
        }
    }

    /**
     * The requests that wait for a worker: it takes all there are, up to the batch size, and goes to work.
     *
     * <p>TorchServe waits for more for at least a millisecond, a third of the time a lone request takes. Under
     * load nothing is lost: what comes while a batch is worked on makes the next one.
     */
    private static final class Line extends LinkedBlockingDeque<Job> {
        private static final long serialVersionUID = 1L;

        Line(int capacity) {
            super(capacity);
        }

        @Override
        public Job poll(long timeout, TimeUnit unit) throws InterruptedException {
            return timeout == Long.MAX_VALUE ? super.poll(timeout, unit) : poll();
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
        /** Places in the queue for requests that find the last one free at the same time, on several threads. */
        private static final int SPARE_PLACES = 64;

        /** What parts of a path lie between, a model's name among them. */
        private static final Pattern SEPARATORS = Pattern.compile("[/:?]");

        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            FullHttpRequest request = (FullHttpRequest) message;
            if (request.uri().split("\\?", 2)[0].indexOf('/') < 0) {
                refuse(
                        context,
                        request,
                        error(HttpResponseStatus.NOT_FOUND, "The path of the request must begin with /."));
            } else if (isFull(request)) {
                FullHttpResponse full =
                        error(
                                HttpResponseStatus.SERVICE_UNAVAILABLE,
                                "Too many requests are waiting: try again in a second.");
                full.headers().set(HttpHeaderNames.RETRY_AFTER, 1);
                refuse(context, request, full);
            } else if (isBroken(request)) {
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
    }
}
