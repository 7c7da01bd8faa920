package digits.server;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.commons.cli.CommandLine;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.ParseException;
import org.pytorch.serve.archive.DownloadArchiveException;
import org.pytorch.serve.archive.model.ModelException;
import org.pytorch.serve.metrics.MetricCache;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;

/** As much of TorchServe as tests of single classes need: a configuration and two versions of a model, no workers. */
final class TorchServe {
    static final String PAGE = "http://127.0.0.1:8000";
    static final int BATCH_SIZE = 4;

    /** Requests that may wait for version 1, and for version 2, which may have none. */
    static final int[] QUEUE_SIZES = {100, 64};

    static final BodyBudget BUDGET = new BodyBudget(1 << 20);

    private TorchServe() {}

    /** Starts it, once in a process. */
    static void start() {
        try {
            Path folder = Files.createTempDirectory("digits-test-");
            Path settings = folder.resolve("config.properties");
            Files.writeString(
                    settings,
                    String.join(
                            "\n",
                            "metrics_mode=prometheus",
                            "metrics_config=" + System.getProperty("digits.metrics"),
                            "max_request_size=1000",
                            "cors_allowed_origin=" + PAGE,
                            "model_store=" + folder));
            String[] arguments = {"-f", settings.toString()};
            CommandLine options = new DefaultParser().parse(ConfigManager.Arguments.getOptions(), arguments);
            ConfigManager.init(new ConfigManager.Arguments(options));
            MetricCache.init();
            DrainingWorkLoadManager workers = new DrainingWorkLoadManager(ConfigManager.getInstance(), null, BUDGET);
            ModelManager.init(ConfigManager.getInstance(), workers);
            for (int version = 1; version <= QUEUE_SIZES.length; version++) {
                Path archive = Files.createDirectories(folder.resolve("v" + version));
                Files.createDirectory(archive.resolve("MAR-INF"));
                Files.writeString(
                        archive.resolve("MAR-INF/MANIFEST.json"),
                        "{\"runtime\": \"python\", \"model\": {\"modelName\": \"mnist\", \"handler\": \"none.py\","
                                + " \"configFile\": \"model.yaml\", \"modelVersion\": \"" + version + ".0\"}}");
                Files.writeString(archive.resolve("none.py"), "");
                Files.writeString(
                        archive.resolve("model.yaml"),
                        "batchSize: " + BATCH_SIZE + "\njobQueueSize: " + QUEUE_SIZES[version - 1] + "\n");
                ModelManager.getInstance().registerModel("v" + version, "mnist");
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (ParseException | ModelException | DownloadArchiveException | InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Returns a version of the model. */
    static Model model(String version) throws ModelException {
        return ModelManager.getInstance().getModel("mnist", version);
    }
}
