package digits.server;

import io.netty.channel.ChannelFuture;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.group.ChannelGroup;
import io.netty.channel.group.DefaultChannelGroup;
import io.netty.util.concurrent.GlobalEventExecutor;
import java.io.IOException;
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
 * TorchServe with workers that lose no request, an inference port that answers every malformed upload with a
 * clear 4xx, metrics of its own and an orderly end.
 *
 * <p>When it fails, it writes a sentence to the file that the system property digits.failure names, or to
 * standard error, and its exit code says what happened: {@link #NOT_STARTED} or {@link #NO_WORKER}.
 */
public final class DigitServer extends ModelServer {
    /** The exit code of a server that could not start. */
    public static final int NOT_STARTED = 1;

    /** The exit code of a server whose workers do not stay alive. */
    public static final int NO_WORKER = 3;

    private static final Logger LOGGER = LoggerFactory.getLogger(DigitServer.class);

    /** Milliseconds for answering the requests that are there when the server is told to stop. */
    private static final int DRAIN_MS = 20_000;

    /** Milliseconds from saying that it is not ready until it takes no more connections. */
    private static final long SHUTDOWN_DELAY_MS =
            TimeUnit.SECONDS.toMillis(Integer.getInteger("digits.shutdownDelay", 0));

    private final ChannelGroup connections = new DefaultChannelGroup(GlobalEventExecutor.INSTANCE);
    private String models;
    private ChannelFuture inferencePort;
    private volatile DrainingWorkLoadManager workers;

    private DigitServer(ConfigManager config) {
        super(config);
    }

    /** Starts what {@link ModelServer#main} starts, with the same arguments. */
    public static void main(String[] args) {
        String failure = "A port of the server was closed.";
        try {
            CommandLine options = new DefaultParser().parse(ConfigManager.Arguments.getOptions(), args);
            ConfigManager.init(new ConfigManager.Arguments(options));
            initTokens();
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
        // Stopping what did not start would only add a stack trace.
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
                LOGGER.error("The reason for the end cannot be written to {}.", file, e);
            }
        }
        System.err.println(sentence);
    }

    /** Makes TorchServe write its keys beside its logs: it would write them to the working directory. */
    private static void initTokens() {
        String here = System.setProperty("user.dir", System.getenv("LOG_LOCATION"));
        TokenAuthorization.init();
        System.setProperty("user.dir", here);
    }

    /**
     * Starts the models of the configuration, and the ports.
     *
     * <p>Unlike TorchServe's own, this fails if a model cannot be registered.
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
        // TorchServe waits for the first one's end, and then ends all: the port that is closed last.
        List<ChannelFuture> lastFirst = new ArrayList<>(ports);
        Collections.reverse(lastFirst);
        return lastFirst;
    }

    private void startModels(ConfigManager config) throws InterruptedException, IOException {
        workers = new DrainingWorkLoadManager(config);
        ModelManager.init(config, workers);
        SnapshotManager.init(config);
        try {
            for (String model : models.split(",")) {
                String[] pair = model.split("=");
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
        // Negative: what the archive's model-config.yaml says comes first.
        ModelArchive archive =
                manager.registerModel(
                        file, name, null, null,
                        -RegisterModelRequest.DEFAULT_BATCH_SIZE, -RegisterModelRequest.DEFAULT_MAX_BATCH_DELAY,
                        config.getDefaultResponseTimeout(), config.getDefaultStartupTimeout(),
                        name, false, false, false);
        ModelConfig wanted = archive.getModelConfig();
        if (wanted == null) {
            throw new IOException(file + " has no model-config.yaml that can be read.");
        }
        manager.updateModel(
                name, archive.getModelVersion(), wanted.getMinWorkers(), wanted.getMaxWorkers(), true, false);
        manager.getStartupModels().add(name);
    }

    private static void repeat(Runnable task) {
        ModelManager.getInstance().getScheduler().scheduleAtFixedRate(guard(task), 1, 1, TimeUnit.SECONDS);
    }

    /** Returns a task that logs its exceptions: one that is thrown would end its schedule. */
    static Runnable guard(Runnable task) {
        return () -> {
            try {
                task.run();
            } catch (RuntimeException e) {
                LOGGER.error("A task that is repeated each second failed; it goes on.", e);
            }
        };
    }

    /** Ends the server when no worker of a version that serves stays alive. */
    private void checkWorkers() {
        for (Map.Entry<String, ModelVersionedRefs> each : ModelManager.getInstance().getAllModels()) {
            Model served = each.getValue().getDefaultModel();
            if (served != null && workers.isGivenUp(served)) {
                workers.giveUp(served);
                reportFailure("No worker of the model stays alive.");
                System.exit(NO_WORKER);
            }
        }
    }

    /**
     * Opens a port; that of the management API has threads of its own, since it waits for workers.
     *
     * <p>The inference port, which is the first, opens once there are models: before, it would not know them.
     */
    @Override
    public ChannelFuture initializeServer(
            Connector connector, EventLoopGroup serverGroup, EventLoopGroup workerGroup, ConnectorType type)
            throws InterruptedException, IOException, GeneralSecurityException {
        if (type == ConnectorType.INFERENCE_CONNECTOR) {
            startModels(ConfigManager.getInstance());
            EventLoopGroup threads = ConnectionAcceptor.forInference(workerGroup, connections);
            inferencePort = super.initializeServer(connector, serverGroup, threads, type);
            return inferencePort;
        }
        if (!(connector.getSocketAddress() instanceof InetSocketAddress)) {
            throw new IOException("Every address of the configuration must be one such as http://127.0.0.1:8080.");
        }
        InetSocketAddress address = (InetSocketAddress) connector.getSocketAddress();
        switch (type) {
            case MANAGEMENT_CONNECTOR:
                EventLoopGroup waiting = Connector.newEventLoopGroup(2);
                return super.initializeServer(
                        connector, serverGroup, ConnectionAcceptor.forManagement(waiting, address), type);
            case METRICS_CONNECTOR:
                return super.initializeServer(
                        connector, serverGroup, ConnectionAcceptor.forMetrics(workerGroup, address), type);
            default:
                throw new IOException("inference_address and management_address must not be the same.");
        }
    }

    /** Starts none: this service has no gRPC. */
    @Override
    public void startGRPCServers() {}

    /**
     * Says that it is not ready, later takes no more connections, answers what was asked, and then ends the workers.
     *
     * <p>Whoever balances over several servers may send requests until it has heard that this one is not ready.
     */
    @Override
    public void stop() {
        if (workers == null) {
            return;
        }
        try {
            if (OpenInference.retire()) {
                Thread.sleep(SHUTDOWN_DELAY_MS);
            }
            long deadline = System.currentTimeMillis() + DRAIN_MS;
            inferencePort.channel().close().sync();
            RequestTracker.drain(connections, deadline);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        workers.close();
    }
}
