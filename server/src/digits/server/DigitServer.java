import io.grpc.Server;
import io.netty.channel.ChannelFuture;
import io.netty.channel.EventLoopGroup;
import java.io.IOException;
import java.security.GeneralSecurityException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.commons.cli.DefaultParser;
import org.pytorch.serve.ModelServer;
import org.pytorch.serve.archive.DownloadArchiveException;
import org.pytorch.serve.archive.model.ModelArchive;
import org.pytorch.serve.archive.model.ModelException;
import org.pytorch.serve.http.messages.RegisterModelRequest;
import org.pytorch.serve.metrics.MetricCache;
import org.pytorch.serve.servingsdk.impl.PluginsManager;
import org.pytorch.serve.snapshot.InvalidSnapshotException;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.Connector;
import org.pytorch.serve.util.ConnectorType;
import org.pytorch.serve.util.ServerGroups;
import org.pytorch.serve.util.TokenAuthorization;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.WorkerInitializationException;

/**
 * TorchServe with workers that lose no request, an inference port that answers every malformed upload with a
 * clear 4xx, metrics of its own and an orderly end.
 */
public final class DigitServer extends ModelServer {
    /** Milliseconds in which the requests that are there when the server is told to stop are answered. */
    private static final int DRAIN_MS = 20_000;

    private ChannelFuture inferencePort;

    private DigitServer(ConfigManager config) {
        super(config);
    }

    /** Starts what {@link ModelServer#main} starts, with the same arguments. */
    public static void main(String[] args) {
        try {
            ConfigManager.init(
                    new ConfigManager.Arguments(
                            new DefaultParser().parse(ConfigManager.Arguments.getOptions(), args)));
            initTokens();
            PluginsManager.getInstance().initialize();
            MetricCache.init();
            Metrics.init();
            DigitServer server = new DigitServer(ConfigManager.getInstance());
            Runtime.getRuntime().addShutdownHook(new Thread(server::stop));
            server.startAndWait();
        } catch (Exception | ExceptionInInitializerError e) {
            System.err.println(e.getMessage() == null ? e : e.getMessage());
            // Stopping what did not start would only add a stack trace.
            Runtime.getRuntime().halt(1);
        } finally {
            System.exit(1);
        }
    }

    /** Lets TorchServe write its keys beside its logs: it would write them where it was started. */
    private static void initTokens() {
        String here = System.setProperty("user.dir", System.getenv("LOG_LOCATION"));
        TokenAuthorization.init();
        System.setProperty("user.dir", here);
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
            ServerGroups groups = Reflection.value(ModelServer.class, "serverGroups", this);
            Reflection.field(ModelManager.class, "wlm").set(manager, new Workers(config, groups.getBackendGroup()));
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
        // TorchServe waits for the first one's end, and then ends all: the port that is closed last.
        List<ChannelFuture> lastFirst = new ArrayList<>(ports);
        Collections.reverse(lastFirst);
        return lastFirst;
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
        if (archive.getModelConfig() == null) {
            throw new IOException(file + " has no model-config.yaml that can be read.");
        }
        manager.updateModel(
                archive.getModelName(),
                archive.getModelVersion(),
                archive.getModelConfig().getMinWorkers(),
                archive.getModelConfig().getMaxWorkers(),
                true,
                false);
        manager.getStartupModels().add(archive.getModelName());
    }

    /** Opens a port; that of the management API has threads of its own, since it waits for workers. */
    @Override
    public ChannelFuture initializeServer(
            Connector connector, EventLoopGroup serverGroup, EventLoopGroup workerGroup, ConnectorType type)
            throws InterruptedException, IOException, GeneralSecurityException {
        EventLoopGroup threads =
                type == ConnectorType.MANAGEMENT_CONNECTOR ? Connector.newEventLoopGroup(2) : workerGroup;
        ChannelFuture closed = super.initializeServer(connector, serverGroup, threads, type);
        if (type == ConnectorType.INFERENCE_CONNECTOR) {
            closed.channel().pipeline().addFirst(new Uploads.Acceptor());
            inferencePort = closed;
        }
        return closed;
    }

    /** Takes no more connections, answers what was asked, and only then ends the workers. */
    @Override
    public void stop() {
        if (inferencePort == null) {
            return;
        }
        long deadline = System.currentTimeMillis() + DRAIN_MS;
        try {
            inferencePort.channel().close().sync();
            Server calls = Reflection.value(ModelServer.class, "inferencegRPCServer", this);
            if (calls != null) {
                calls.shutdown();
            }
            Watch.drain(deadline);
            if (calls != null) {
                calls.awaitTermination(deadline - System.currentTimeMillis(), TimeUnit.MILLISECONDS);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        ModelManager.getInstance().getWorkers().values().forEach(each -> ((Worker) each).end());
    }
}
