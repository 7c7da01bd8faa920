import io.netty.channel.EventLoopGroup;
import java.net.HttpURLConnection;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.ModelVersionName;
import org.pytorch.serve.wlm.WorkLoadManager;
import org.pytorch.serve.wlm.WorkerState;
import org.pytorch.serve.wlm.WorkerStateListener;
import org.pytorch.serve.wlm.WorkerThread;

/**
 * Starts and ends the workers of models; one that is no longer wanted finishes its work first.
 *
 * <p>TorchServe's own kills it at once, and what it works on is answered with an error or not at all.
 */
final class Workers extends WorkLoadManager {
    private final Map<ModelVersionName, List<WorkerThread>> workers =
            Reflection.value(WorkLoadManager.class, "workers", this);
    private final ConfigManager config;
    private final EventLoopGroup group;
    private final AtomicInteger port;
    private final AtomicInteger device = new AtomicInteger();
    /** The versions that a worker has loaded. */
    private final Set<String> loaded = new HashSet<>();

    Workers(ConfigManager config, EventLoopGroup group) {
        super(config, group);
        this.config = config;
        this.group = group;
        port = new AtomicInteger(config.getInitialWorkerPort());
        ModelManager.getInstance().getScheduler().scheduleAtFixedRate(this::look, 1, 1, TimeUnit.SECONDS);
    }

    /** Brings the number of a model's workers between its minimum and its maximum. */
    @Override
    public CompletableFuture<Integer> modelChanged(Model model, boolean isStartup, boolean isCleanUp) {
        CompletableFuture<Integer> done = new CompletableFuture<>();
        synchronized (model.getModelVersionName()) {
            List<WorkerThread> own =
                    workers.computeIfAbsent(model.getModelVersionName(), name -> new CopyOnWriteArrayList<>());
            int missing = model.getMinWorkers() - own.size();
            WorkerStateListener listener = new WorkerStateListener(done, missing);
            for (int i = 0; i < missing; i++) {
                Worker worker = new Worker(config, group, port.getAndIncrement(), nextDevice(model), model, listener);
                own.add(worker);
                scheduleAsync(worker);
            }
            if (missing <= 0) {
                retire(model, own, Math.max(0, own.size() - model.getMaxWorkers()));
                done.complete(HttpURLConnection.HTTP_OK);
            }
        }
        return done;
    }

    private int nextDevice(Model model) {
        return model.getNumCores() > 0 ? device.getAndIncrement() % model.getNumCores() : -1;
    }

    /** Takes the last workers from a model's and returns when they have ended. */
    private static void retire(Model model, List<WorkerThread> own, int count) {
        // Without a worker TorchServe queues no more: the last ones leave an empty queue.
        List<WorkerThread> leaving = new ArrayList<>(own.subList(own.size() - count, own.size()));
        own.removeAll(leaving);
        for (WorkerThread worker : leaving) {
            ((Worker) worker).retire(own.isEmpty());
        }
        long deadline = System.currentTimeMillis() + TimeUnit.SECONDS.toMillis(model.getResponseTimeout());
        for (WorkerThread worker : leaving) {
            ((Worker) worker).awaitEnd(deadline);
        }
        if (own.isEmpty()) {
            Batches.refuseAll(model);
            // It may be gone for good, and look() no longer sees it.
            tellGauges(model.getVersion(), 0, 0, 0, 0, false);
        }
    }

    /** Tells how the workers are; ends the server when none of the default version's stays alive. */
    private void look() {
        ModelManager.getInstance()
                .getAllModels()
                .forEach(
                        named -> {
                            String served = named.getValue().getDefaultVersion();
                            named.getValue().getAllVersions().forEach(each -> tell(each.getValue(), served));
                        });
    }

    /** Tells whether a worker is not started again, or need not be: the first time it must load the model. */
    private boolean isGivenUp(WorkerThread worker, Model model) {
        boolean hasFailed = worker.getState() == WorkerState.WORKER_STOPPED;
        return hasFailed && !loaded.contains(model.getVersion()) || ((Worker) worker).isGivenUp();
    }

    private void tell(Model model, String served) {
        boolean isServed = model.getVersion().equals(served);
        List<WorkerThread> own = getWorkers(model.getModelVersionName());
        long ready = own.stream().filter(each -> each.getState() == WorkerState.WORKER_MODEL_LOADED).count();
        tellGauges(
                model.getVersion(),
                ready,
                model.getMinWorkers(),
                model.getPendingRequestsInJobQueue(),
                model.getJobQueueRemainingCapacity(),
                isServed);
        if (ready > 0) {
            loaded.add(model.getVersion());
        }
        if (isServed && !own.isEmpty() && own.stream().allMatch(each -> isGivenUp(each, model))) {
            System.err.println("No worker of the model stays alive:");
            workers.get(model.getModelVersionName()).clear();
            Batches.refuseAll(model);
            System.exit(1);
        }
    }

    private static void tellGauges(
            String version, long ready, int least, int waiting, int places, boolean isServed) {
        Metrics.tell("digit_ready_workers", ready, version);
        Metrics.tell("digit_min_workers", least, version);
        Metrics.tell("digit_waiting_requests", waiting, version);
        Metrics.tell("digit_queue_places", places, version);
        Metrics.tell("digit_is_default", isServed ? 1 : 0, version);
    }
}
