package digits.server;

import com.google.common.base.Splitter;
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
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.GeneralSecurityException;
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

    private final BodyBudget budget;
    private final ChannelGroup connections = new DefaultChannelGroup(GlobalEventExecutor.INSTANCE);
    private Map<String, String> models;
    private Readiness readiness;
    private Channel inferencePort;
    private volatile DrainingWorkLoadManager workers;

    private DigitServer(ConfigManager config) {
        super(config);
        budget = new BodyBudget(Math.max(Runtime.getRuntime().maxMemory() / 4, config.getMaxRequestSize()));
    }

    /** Does the same as {@link ModelServer#main}, with the same arguments. */
    public static void main(String[] args) {
        String failure = "A port of the server was closed.";
        try {
            CommandLine options = new DefaultParser().parse(ConfigManager.Arguments.getOptions(), args);
            ConfigManager.init(new ConfigManager.Arguments(options));
            initTokens();
            ConfigManager config = ConfigManager.getInstance();
            if (config.getNettyThreads() == 0) {
                // With TorchServe's two event loops per core, a worker and its client more often have different ones.
                int cores = Runtime.getRuntime().availableProcessors();
                config.setProperty("number_of_netty_threads", String.valueOf(cores));
            }
            PluginsManager.getInstance().initialize();
            MetricCache.init();
            DigitServer server = new DigitServer(config);
            Runtime.getRuntime().addShutdownHook(new Thread(server::stop));
            server.startAndWait();
        } catch (Throwable e) {
            Throwable cause = e instanceof ExceptionInInitializerError ? e.getCause() : e;
            failure = cause.getMessage() == null ? cause.toString() : cause.getMessage();
        }
        reportFailure(failure);
        // halt(), not exit(): shutdown hooks would only add a stack trace.
        Runtime.getRuntime().halt(NOT_STARTED);
    }

    private static void reportFailure(String sentence) {
        Path file = Path.of(System.getProperty("digits.failure", "/dev/stderr"));
        try {
            Files.writeString(file, sentence + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        } catch (IOException e) {
            LOGGER.error("{} {} cannot be written.", sentence, file, e);
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
        String named = config.getLoadModels();
        if (named == null || !named.matches("[^=,]+=[^=,]+(,[^=,]+=[^=,]+)*")) {
            throw new IOException("load_models of the configuration must be NAME=FILE.mar, several with commas.");
        }
        models = Splitter.on(',').withKeyValueSeparator('=').split(named);
        readiness = new Readiness(models.keySet());
        config.setProperty("load_models", "");
        List<ChannelFuture> ports = super.startRESTserver();
        config.setProperty("load_models", named);
        Runnable check = DrainingWorkerThread.guard(this::checkVersions);
        ModelManager.getInstance().getScheduler().scheduleAtFixedRate(check, 1, 1, TimeUnit.SECONDS);
        // TorchServe stops when the first of these is closed: it must be the one that closes last.
        return ports.subList(ports.size() - 1, ports.size());
    }

    private void startModels(ConfigManager config, EventLoopGroup threads) throws InterruptedException, IOException {
        workers = new DrainingWorkLoadManager(config, threads, budget);
        ModelManager.init(config, workers);
        SnapshotManager.init(config);
        ModelManager manager = ModelManager.getInstance();
        try {
            for (Map.Entry<String, String> model : models.entrySet()) {
                String name = model.getKey();
                // Negative defaults let the archive's model-config.yaml take precedence.
                ModelArchive archive =
                        manager.registerModel(
                                model.getValue(), name, null, null,
                                -RegisterModelRequest.DEFAULT_BATCH_SIZE, -RegisterModelRequest.DEFAULT_MAX_BATCH_DELAY,
                                config.getDefaultResponseTimeout(), config.getDefaultStartupTimeout(),
                                name, false, false, false);
                ModelConfig wanted = archive.getModelConfig();
                if (wanted == null) {
                    throw new IOException(model.getValue() + " has no valid model-config.yaml.");
                }
                int least = wanted.getMinWorkers();
                manager.updateModel(name, archive.getModelVersion(), least, wanted.getMaxWorkers(), true, false);
                manager.getStartupModels().add(name);
            }
        } catch (ModelException | DownloadArchiveException | WorkerInitializationException e) {
            throw new IOException(e.getMessage(), e);
        }
    }

    /** Records the state of every version, and gives up those whose workers do not stay alive. */
    private void checkVersions() {
        for (Map.Entry<String, ModelVersionedRefs> each : ModelManager.getInstance().getAllModels()) {
            String served = each.getValue().getDefaultVersion();
            for (Map.Entry<String, Model> version : each.getValue().getAllVersions()) {
                boolean isDefault = version.getKey().equals(served);
                workers.recordGauges(version.getValue(), isDefault);
                boolean isNeeded = isDefault && models.containsKey(each.getKey());
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
        // operate/torchserve.py writes ; for the colons of an IPv6 address, which TorchServe cannot parse.
        String[] parts = connector.toString().split("://|:");
        if (parts.length < 3) {
            throw new IOException("Every address in the configuration must look like http://127.0.0.1:8080.");
        }
        InetSocketAddress address = new InetSocketAddress(parts[1].replace(';', ':'), Integer.parseInt(parts[2]));
        EventLoopGroup threads = workerGroup;
        if (type == ConnectorType.INFERENCE_CONNECTOR) {
            startModels(ConfigManager.getInstance(), workerGroup);
        } else if (type == ConnectorType.MANAGEMENT_CONNECTOR) {
            threads = Connector.newEventLoopGroup(2);
        } else if (type != ConnectorType.METRICS_CONNECTOR) {
            throw new IOException("inference_address and management_address must not be the same.");
        }
        SslContext tls = connector.isSsl() ? ConfigManager.getInstance().getSslContext() : null;
        RequestChecks checks = checksOf(type, address);
        ServerBootstrap port =
                new ServerBootstrap()
                        .group(serverGroup, threads)
                        .channel(connector.getServerChannel())
                        .option(ChannelOption.SO_BACKLOG, 1024)
                        .childOption(ChannelOption.SO_KEEPALIVE, true)
                        .childHandler(new ConnectionInitializer(tls, type, checks, connections, budget));
        ChannelFuture opened = port.bind(address).await();
        if (!opened.isSuccess()) {
            throw new IOException("Failed to bind to address: " + address, opened.cause());
        }
        if (type == ConnectorType.INFERENCE_CONNECTOR) {
            inferencePort = opened.channel();
        }
        return opened.channel().closeFuture();
    }

    private RequestChecks checksOf(ConnectorType type, InetSocketAddress address) throws IOException {
        if (type == ConnectorType.INFERENCE_CONNECTOR) {
            OpenInference protocol = new OpenInference(readiness);
            return new RequestChecks(BrowserGuard::checkPage, BodyDecoder::decode, protocol::check);
        }
        if (type == ConnectorType.MANAGEMENT_CONNECTOR) {
            return new RequestChecks(new BrowserGuard(address, false)::check, ManagementGuard::check);
        }
        // Only the network knows the name of a port at all addresses, at which Prometheus asks.
        return new RequestChecks(new BrowserGuard(address, address.getAddress().isAnyLocalAddress())::check);
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
