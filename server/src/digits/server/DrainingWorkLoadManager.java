package digits.server;

import io.netty.channel.EventLoopGroup;
import java.net.HttpURLConnection;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.ModelVersionName;
import org.pytorch.serve.wlm.ModelVersionedRefs;
import org.pytorch.serve.wlm.WorkLoadManager;
import org.pytorch.serve.wlm.WorkerState;
import org.pytorch.serve.wlm.WorkerStateListener;
import org.pytorch.serve.wlm.WorkerThread;

/**
 * Starts and stops workers; a worker that is scaled down finishes its batch first.
 *
 * <p>TorchServe kills it at once, and its requests get an error or no answer.
 */
final class DrainingWorkLoadManager extends WorkLoadManager {
    private static final Set<WorkerState> ENDED =
            EnumSet.of(WorkerState.WORKER_STOPPED, WorkerState.WORKER_ERROR, WorkerState.WORKER_SCALED_DOWN);

    /** The workers of each model version. */
    private final Map<ModelVersionName, List<DrainingWorkerThread>> pools = new ConcurrentHashMap<>();
    private final ConfigManager config;
    private final EventLoopGroup group;
    private final AtomicInteger port;
    private final AtomicInteger device = new AtomicInteger();

    /** Connects to the workers on the event loops that serve the clients: a request need not change threads. */
    DrainingWorkLoadManager(ConfigManager config, EventLoopGroup group) {
        super(config, group);
        this.config = config;
        this.group = group;
        port = new AtomicInteger(config.getInitialWorkerPort());
    }

    private List<DrainingWorkerThread> workersOf(ModelVersionName version) {
        return pools.getOrDefault(version, List.of());
    }

    @Override
    public List<WorkerThread> getWorkers(ModelVersionName version) {
        return new ArrayList<>(workersOf(version));
    }

    @Override
    public Map<Integer, WorkerThread> getWorkers() {
        Map<Integer, WorkerThread> byProcess = new HashMap<>();
        pools.values().forEach(workers -> workers.forEach(each -> byProcess.put(each.getPid(), each)));
        return byProcess;
    }

    @Override
    public boolean hasNoWorker(ModelVersionName version) {
        return workersOf(version).isEmpty();
    }

    @Override
    public int getNumRunningWorkers(ModelVersionName version) {
        return (int) workersOf(version).stream().filter(each -> !ENDED.contains(each.getState())).count();
    }

    @Override
    public int getNumHealthyWorkers(ModelVersionName version) {
        return (int) workersOf(version).stream().filter(WorkerThread::isHealthy).count();
    }

    /** Starts or retires workers until their number is within the model's minimum and maximum. */
    @Override
    public CompletableFuture<Integer> modelChanged(Model model, boolean isStartup, boolean isCleanUp) {
        CompletableFuture<Integer> done = new CompletableFuture<>();
        List<DrainingWorkerThread> workers =
                pools.computeIfAbsent(model.getModelVersionName(), version -> new CopyOnWriteArrayList<>());
        synchronized (workers) {
            int missing = model.getMinWorkers() - workers.size();
            if (missing > 0) {
                start(model, workers, missing, done);
            } else {
                retire(model, workers, Math.max(0, workers.size() - model.getMaxWorkers()));
                done.complete(HttpURLConnection.HTTP_OK);
            }
        }
        return done;
    }

    private void start(Model model, List<DrainingWorkerThread> workers, int count, CompletableFuture<Integer> done) {
        WorkerStateListener listener = new WorkerStateListener(done, count);
        for (int i = 0; i < count; i++) {
            int id = port.getAndIncrement();
            DrainingWorkerThread worker =
                    new DrainingWorkerThread(config, group, id, nextDevice(model), model, listener);
            workers.add(worker);
            scheduleAsync(worker);
        }
    }

    private int nextDevice(Model model) {
        return model.getNumCores() > 0 ? device.getAndIncrement() % model.getNumCores() : -1;
    }

    /** Retires the newest workers and returns when they have ended. */
    private static void retire(Model model, List<DrainingWorkerThread> workers, int count) {
        // Without workers TorchServe queues nothing more, so the last ones empty the queue.
        List<DrainingWorkerThread> leaving =
                new ArrayList<>(workers.subList(workers.size() - count, workers.size()));
        workers.removeAll(leaving);
        leaving.forEach(each -> each.retire(workers.isEmpty()));
        long deadline = System.currentTimeMillis() + TimeUnit.SECONDS.toMillis(model.getResponseTimeout());
        try {
            for (DrainingWorkerThread worker : leaving) {
                worker.awaitEnd(deadline);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        if (workers.isEmpty()) {
            EagerBatchAggregator.refuseAll(model);
            // recordGauges() no longer sees a version that has been removed.
            Metrics.VERSION_GAUGES.forEach(each -> each.labels(model.getModelName(), model.getVersion()).set(0));
        }
    }

    /** Records the state of all workers and queues. */
    void recordGauges() {
        for (Map.Entry<String, ModelVersionedRefs> each : ModelManager.getInstance().getAllModels()) {
            String served = each.getValue().getDefaultVersion();
            for (Map.Entry<String, Model> version : each.getValue().getAllVersions()) {
                Model model = version.getValue();
                String[] labels = {each.getKey(), version.getKey()};
                Metrics.READY_WORKERS.labels(labels).set(countReady(model));
                Metrics.MIN_WORKERS.labels(labels).set(model.getMinWorkers());
                Metrics.WAITING_REQUESTS.labels(labels).set(model.getPendingRequestsInJobQueue());
                Metrics.QUEUE_CAPACITY.labels(labels).set(model.getJobQueueRemainingCapacity());
                Metrics.IS_DEFAULT.labels(labels).set(version.getKey().equals(served) ? 1 : 0);
            }
        }
    }

    private long countReady(Model model) {
        return workersOf(model.getModelVersionName()).stream()
                .filter(each -> each.getState() == WorkerState.WORKER_MODEL_LOADED)
                .count();
    }

    /** Returns whether a model should have workers but none stays alive, or, if it is needed, loads the model. */
    boolean isGivenUp(Model model, boolean isNeeded) {
        List<DrainingWorkerThread> workers = workersOf(model.getModelVersionName());
        return !workers.isEmpty()
                && workers.stream().allMatch(each -> each.isGivenUp() || isNeeded && each.cannotLoad());
    }

    /** Refuses all requests for a model whose workers are dead. */
    void giveUp(Model model) {
        List<DrainingWorkerThread> workers = workersOf(model.getModelVersionName());
        workers.forEach(DrainingWorkerThread::kill);
        workers.clear();
        EagerBatchAggregator.refuseAll(model);
    }

    /** Kills all workers at once. */
    void close() {
        pools.values().forEach(workers -> workers.forEach(DrainingWorkerThread::kill));
    }
}
