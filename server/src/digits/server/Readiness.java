package digits.server;

import java.util.Set;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.WorkerState;

/** Knows whether the server is ready: every startup model has a ready worker, and the server is not stopping. */
final class Readiness {
    /**
     * The models of load_models; others must not take the server out of a load balancer.
     *
     * <p>TorchServe's own set loses a model as soon as one of its versions is unregistered.
     */
    private final Set<String> startupModels;
    private volatile boolean isRetired;

    Readiness(Set<String> startupModels) {
        this.startupModels = startupModels;
    }

    /** Makes readiness fail from now on; returns whether it was ready before. */
    boolean retire() {
        boolean wasReady = areReady();
        isRetired = true;
        return wasReady;
    }

    /** Returns whether every startup model has a ready worker. */
    boolean areReady() {
        return ModelManager.getInstance().getAllModels().stream()
                        .filter(each -> startupModels.contains(each.getKey()))
                        .filter(each -> isReady(each.getValue().getDefaultModel()))
                        .count()
                == startupModels.size();
    }

    boolean isReady(Model model) {
        return model != null
                && !isRetired
                && ModelManager.getInstance().getWorkers(model.getModelVersionName()).stream()
                        .anyMatch(each -> each.getState() == WorkerState.WORKER_MODEL_LOADED);
    }
}
