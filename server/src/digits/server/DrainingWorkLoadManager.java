package digits.server;

import io.netty.channel.EventLoopGroup;
import java.net.HttpURLConnection;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelVersionName;
import org.pytorch.serve.wlm.WorkLoadManager;
import org.pytorch.serve.wlm.WorkerState;
import org.pytorch.serve.wlm.WorkerStateListener;

/**
 * Starts and stops workers; a worker that is scaled down finishes its batch first.
 *
 * <p>TorchServe kills it at once, and its requests get an error or no answer.
 */
final class DrainingWorkLoadManager extends WorkLoadManager {
    /** The workers of each model version: TorchServe's own map. */
    private final Map<ModelVersionName, List<DrainingWorkerThread>> pools =
            PrivateField.get(WorkLoadManager.class, "workers", this);
    private final ConfigManager config;
    private final EventLoopGroup group;
    private final BodyBudget budget;
    private final AtomicInteger port;

    /** Connects to the workers on the event loops that serve the clients: a request need not change threads. */
    DrainingWorkLoadManager(ConfigManager config, EventLoopGroup group, BodyBudget budget) {
        super(config, group);
        this.config = config;
        this.group = group;
        this.budget = budget;
        port = new AtomicInteger(config.getInitialWorkerPort());
    }

    private List<DrainingWorkerThread> workersOf(Model model) {
        return pools.getOrDefault(model.getModelVersionName(), List.of());
    }

    /** Starts or retires workers until their number is within the model's minimum and maximum. */
    @Override
    public CompletableFuture<Integer> modelChanged(Model model, boolean isStartup, boolean isCleanUp) {
        CompletableFuture<Integer> done = new CompletableFuture<>();
        List<DrainingWorkerThread> workers =
                pools.computeIfAbsent(model.getModelVersionName(), version -> new CopyOnWriteArrayList<>());
        synchronized (workers) {
            int missing = model.getMinWorkers() - workers.size();
            WorkerStateListener listener = new WorkerStateListener(done, missing);
            for (int i = 0; i < missing; i++) {
                int id = port.getAndIncrement();
                EagerBatchAggregator batches = new EagerBatchAggregator(model, RequestQueue.of(model, budget));
                DrainingWorkerThread worker = new DrainingWorkerThread(config, group, id, model, batches, listener);
                workers.add(worker);
                scheduleAsync(worker);
            }
            if (missing <= 0) {
                retire(model, workers, Math.max(0, workers.size() - model.getMaxWorkers()));
                done.complete(HttpURLConnection.HTTP_OK);
            }
        }
        return done;
    }

    /** Retires the newest workers and returns when they have ended. */
    private void retire(Model model, List<DrainingWorkerThread> workers, int count) {
        // Without workers TorchServe queues nothing more, so the last ones empty the queue.
        List<DrainingWorkerThread> leaving =
                new ArrayList<>(workers.subList(workers.size() - count, workers.size()));
        workers.removeAll(leaving);
        leaving.forEach(each -> each.retire(workers.isEmpty()));
        long deadline = System.currentTimeMillis() + TimeUnit.SECONDS.toMillis(model.getResponseTimeout());
        leaving.forEach(each -> each.awaitEnd(deadline));
        if (workers.isEmpty()) {
            RequestQueue.of(model, budget).refuseAll();
            // recordGauges() no longer sees a version that has been removed.
            Metrics.VERSION_GAUGES.forEach(each -> each.labels(model.getModelName(), model.getVersion()).set(0));
        }
    }

    /** Records the state of a model's workers and queue. */
    void recordGauges(Model model, boolean isDefault) {
        String[] labels = {model.getModelName(), model.getVersion()};
        Metrics.READY_WORKERS.labels(labels).set(
                workersOf(model).stream().filter(each -> each.getState() == WorkerState.WORKER_MODEL_LOADED).count());
        Metrics.MIN_WORKERS.labels(labels).set(model.getMinWorkers());
        Metrics.WAITING_REQUESTS.labels(labels).set(model.getPendingRequestsInJobQueue());
        Metrics.QUEUE_CAPACITY.labels(labels).set(model.getJobQueueRemainingCapacity());
        Metrics.IS_DEFAULT.labels(labels).set(isDefault ? 1 : 0);
    }

    /** Returns whether a model should have workers but none stays alive, or, if it is needed, loads the model. */
    boolean isGivenUp(Model model, boolean isNeeded) {
        List<DrainingWorkerThread> workers = workersOf(model);
        return !workers.isEmpty()
                && workers.stream().allMatch(each -> each.isGivenUp() || isNeeded && each.cannotLoad());
    }

    /** Refuses all requests for a model whose workers are dead. */
    void giveUp(Model model) {
        List<DrainingWorkerThread> workers = workersOf(model);
        workers.forEach(DrainingWorkerThread::kill);
        workers.clear();
        RequestQueue.of(model, budget).refuseAll();
    }

    /** Kills all workers at once. */
    void close() {
        pools.values().forEach(workers -> workers.forEach(DrainingWorkerThread::kill));
    }
}
