package digits.server;

import io.netty.bootstrap.ServerBootstrap;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelOption;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.group.ChannelGroup;
import io.netty.channel.group.DefaultChannelGroup;
import io.netty.handler.ssl.SslContext;
import io.netty.util.concurrent.GlobalEventExecutor;
import java.io.IOException;
import java.lang.reflect.Field;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.commons.cli.CommandLine;
import org.apache.commons.cli.DefaultParser;
import org.pytorch.serve.ModelServer;
import org.pytorch.serve.archive.DownloadArchiveException;
import org.pytorch.serve.archive.model.ModelArchive;
import org.pytorch.serve.archive.model.ModelConfig;
import org.pytorch.serve.archive.model.ModelException;
import org.pytorch.serve.http.messages.RegisterModelRequest;
import org.pytorch.serve.metrics.MetricCache;
import org.pytorch.serve.servingsdk.impl.PluginsManager;
import org.pytorch.serve.snapshot.InvalidSnapshotException;
import org.pytorch.serve.snapshot.SnapshotManager;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.Connector;
import org.pytorch.serve.util.ConnectorType;
import org.pytorch.serve.util.TokenAuthorization;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.ModelVersionedRefs;
import org.pytorch.serve.wlm.WorkerInitializationException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * TorchServe with draining workers, a clear 4xx for every malformed upload, more metrics and a graceful shutdown.
 *
 * <p>On failure it writes a sentence to the file named by the system property digits.failure, or to standard error, and
 * exits with {@link #NOT_STARTED} or {@link #NO_WORKER}.
 */
public final class DigitServer extends ModelServer {
    /** The exit code of a server that could not start. */
    public static final int NOT_STARTED = 1;

    /** The exit code of a server whose workers do not stay alive. */
    public static final int NO_WORKER = 3;

    private static final Logger LOGGER = LoggerFactory.getLogger(DigitServer.class);

    /** Milliseconds for answering the accepted requests on shutdown. */
    private static final int DRAIN_MS = 20_000;

    /** Milliseconds between failing readiness and closing the port. */
    private static final long SHUTDOWN_DELAY_MS =
            TimeUnit.SECONDS.toMillis(Integer.getInteger("digits.shutdownDelay", 0));

    private final Readiness readiness = new Readiness();
    private final ChannelGroup connections = new DefaultChannelGroup(GlobalEventExecutor.INSTANCE);
    private String models;
    private Channel inferencePort;
    private volatile DrainingWorkLoadManager workers;

    private DigitServer(ConfigManager config) {
        super(config);
    }

    /** Does the same as {@link ModelServer#main}, with the same arguments. */
    public static void main(String[] args) {
        String failure = "A port of the server was closed.";
        try {
            CommandLine options = new DefaultParser().parse(ConfigManager.Arguments.getOptions(), args);
            ConfigManager.init(new ConfigManager.Arguments(options));
            initTokens();
            initThreads(ConfigManager.getInstance());
            PluginsManager.getInstance().initialize();
            MetricCache.init();
            DigitServer server = new DigitServer(ConfigManager.getInstance());
            Runtime.getRuntime().addShutdownHook(new Thread(server::stop));
            server.startAndWait();
        } catch (ExceptionInInitializerError e) {
            failure = sentenceOf(e.getCause());
        } catch (Throwable e) {
            failure = sentenceOf(e);
        }
        reportFailure(failure);
        // halt(), not exit(): shutdown hooks would only add a stack trace.
        Runtime.getRuntime().halt(NOT_STARTED);
    }

    private static String sentenceOf(Throwable problem) {
        return problem.getMessage() == null ? problem.toString() : problem.getMessage();
    }

    private static void reportFailure(String sentence) {
        String file = System.getProperty("digits.failure");
        if (file != null) {
            try {
                Files.writeString(Path.of(file), sentence + "\n");
                return;
            } catch (IOException e) {
                LOGGER.error("The reason for the failure cannot be written to {}.", file, e);
            }
        }
        System.err.println(sentence);
    }

    /** Takes one event loop per core: with TorchServe's two, a worker and its client more often have different ones. */
    private static void initThreads(ConfigManager config) {
        if (config.getNettyThreads() == 0) {
            config.setProperty("number_of_netty_threads", String.valueOf(Runtime.getRuntime().availableProcessors()));
        }
    }

    /** Makes TorchServe write its keys beside its logs instead of into the working directory. */
    private static void initTokens() {
        String here = System.setProperty("user.dir", System.getenv("LOG_LOCATION"));
        TokenAuthorization.init();
        System.setProperty("user.dir", here);
    }

    /**
     * Starts the configured models and opens the ports.
     *
     * <p>Unlike TorchServe's method, it fails if a model cannot be registered.
     */
    @Override
    public List<ChannelFuture> startRESTserver()
            throws InterruptedException, IOException, GeneralSecurityException, InvalidSnapshotException {
        ConfigManager config = ConfigManager.getInstance();
        models = config.getLoadModels();
        if (models == null || !models.matches("[^=,]+=[^=,]+(,[^=,]+=[^=,]+)*")) {
            throw new IOException("load_models of the configuration must be NAME=FILE.mar, several with commas.");
        }
        config.setProperty("load_models", "");
        List<ChannelFuture> ports = super.startRESTserver();
        config.setProperty("load_models", models);
        repeat(workers::recordGauges);
        repeat(this::checkWorkers);
        // TorchServe stops when the first of these is closed: it must be the one that closes last.
        List<ChannelFuture> lastFirst = new ArrayList<>(ports);
        Collections.reverse(lastFirst);
        return lastFirst;
    }

    private void startModels(ConfigManager config, EventLoopGroup threads) throws InterruptedException, IOException {
        workers = new DrainingWorkLoadManager(config, threads);
        ModelManager.init(config, workers);
        SnapshotManager.init(config);
        try {
            for (String model : models.split(",")) {
                String[] pair = model.split("=");
                readiness.addStartupModel(pair[0]);
                load(config, pair[0], pair[1]);
            }
        } catch (ModelException | DownloadArchiveException | WorkerInitializationException e) {
            throw new IOException(e.getMessage(), e);
        }
    }

    private static void load(ConfigManager config, String name, String file)
            throws ModelException, DownloadArchiveException, WorkerInitializationException, IOException,
                    InterruptedException {
        ModelManager manager = ModelManager.getInstance();
        // Negative defaults let the archive's model-config.yaml take precedence.
        ModelArchive archive =
                manager.registerModel(
                        file, name, null, null,
                        -RegisterModelRequest.DEFAULT_BATCH_SIZE, -RegisterModelRequest.DEFAULT_MAX_BATCH_DELAY,
                        config.getDefaultResponseTimeout(), config.getDefaultStartupTimeout(),
                        name, false, false, false);
        ModelConfig wanted = archive.getModelConfig();
        if (wanted == null) {
            throw new IOException(file + " has no valid model-config.yaml.");
        }
        manager.updateModel(
                name, archive.getModelVersion(), wanted.getMinWorkers(), wanted.getMaxWorkers(), true, false);
        manager.getStartupModels().add(name);
    }

    private static void repeat(Runnable task) {
        Runnable guarded = DrainingWorkerThread.guard(task);
        ModelManager.getInstance().getScheduler().scheduleAtFixedRate(guarded, 1, 1, TimeUnit.SECONDS);
    }

    /** Gives up versions whose workers do not stay alive; stops the server for a startup model's default version. */
    private void checkWorkers() {
        for (Map.Entry<String, ModelVersionedRefs> each : ModelManager.getInstance().getAllModels()) {
            String served = readiness.isStartupModel(each.getKey()) ? each.getValue().getDefaultVersion() : null;
            for (Map.Entry<String, Model> version : each.getValue().getAllVersions()) {
                boolean isNeeded = version.getKey().equals(served);
                if (workers.isGivenUp(version.getValue(), isNeeded)) {
                    workers.giveUp(version.getValue());
                    if (isNeeded) {
                        reportFailure("No worker of the model stays alive.");
                        System.exit(NO_WORKER);
                    }
                    String sentence = "No worker of {} {} stays alive: model.log says why. Scale it to try again.";
                    LOGGER.error(sentence, each.getKey(), version.getKey());
                }
            }
        }
    }

    /**
     * Opens a port. The management port gets separate threads, since its requests wait for workers.
     *
     * <p>The inference port, the first one, opens once the models are registered: it never answers 404 for them.
     */
    @Override
    public ChannelFuture initializeServer(
            Connector connector, EventLoopGroup serverGroup, EventLoopGroup workerGroup, ConnectorType type)
            throws InterruptedException, IOException, GeneralSecurityException {
        restoreHost(connector);
        if (!(connector.getSocketAddress() instanceof InetSocketAddress)) {
            throw new IOException("Every address in the configuration must look like http://127.0.0.1:8080.");
        }
        EventLoopGroup threads = workerGroup;
        if (type == ConnectorType.INFERENCE_CONNECTOR) {
            startModels(ConfigManager.getInstance(), workerGroup);
        } else if (type == ConnectorType.MANAGEMENT_CONNECTOR) {
            threads = Connector.newEventLoopGroup(2);
        } else if (type != ConnectorType.METRICS_CONNECTOR) {
            throw new IOException("inference_address and management_address must not be the same.");
        }
        InetSocketAddress address = (InetSocketAddress) connector.getSocketAddress();
        SslContext tls = connector.isSsl() ? ConfigManager.getInstance().getSslContext() : null;
        ServerBootstrap port =
                new ServerBootstrap()
                        .group(serverGroup, threads)
                        .channel(connector.getServerChannel())
                        .option(ChannelOption.SO_BACKLOG, 1024)
                        .childOption(ChannelOption.SO_KEEPALIVE, true)
                        .childHandler(new ConnectionInitializer(tls, type, address, connections, readiness));
        ChannelFuture opened = port.bind(address).await();
        if (!opened.isSuccess()) {
            throw new IOException("Failed to bind to address: " + connector, opened.cause());
        }
        if (type == ConnectorType.INFERENCE_CONNECTOR) {
            inferencePort = opened.channel();
        }
        return opened.channel().closeFuture();
    }

    /** Restores the colons of an IPv6 address, which operate/torchserve.py replaces since TorchServe parses none. */
    private static void restoreHost(Connector connector) throws IOException {
        try {
            Field host = Connector.class.getDeclaredField("bindIp");
            host.setAccessible(true);
            host.set(connector, ((String) host.get(connector)).replace(';', ':'));
        } catch (ReflectiveOperationException e) {
            throw new IOException(e);
        }
    }

    /** Does nothing: gRPC is off. */
    @Override
    public void startGRPCServers() {}

    /**
     * Fails readiness, closes the port after the shutdown delay, answers the accepted requests and stops the workers.
     *
     * <p>Load balancers keep sending requests until they notice that this server is not ready.
     */
    @Override
    public void stop() {
        if (workers == null) {
            return;
        }
        try {
            if (readiness.retire()) {
                Thread.sleep(SHUTDOWN_DELAY_MS);
            }
            long deadline = System.currentTimeMillis() + DRAIN_MS;
            inferencePort.close().sync();
            RequestTracker.drain(connections, deadline);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        workers.close();
    }
}
