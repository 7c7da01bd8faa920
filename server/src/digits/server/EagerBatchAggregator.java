package digits.server;

import io.netty.channel.Channel;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Collectors;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.messages.BaseModelRequest;
import org.pytorch.serve.util.messages.ModelInferenceRequest;
import org.pytorch.serve.util.messages.ModelWorkerResponse;
import org.pytorch.serve.util.messages.Predictions;
import org.pytorch.serve.util.messages.WorkerCommands;
import org.pytorch.serve.wlm.BatchAggregator;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.WorkerState;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Gives a worker the waiting requests, up to the batch size, without waiting for more.
 *
 * <p>Batches are sent and answered on the event loop of the worker's connection, which is one of those that serve the
 * clients; TorchServe passes each batch through three more threads. It also waits at least a millisecond for a second
 * request. Batches stay large under load: requests that arrive during a batch form the next one.
 */
final class EagerBatchAggregator extends BatchAggregator {
    /** Workers that may die while processing a request before it is refused: two may have been dead already. */
    private static final int TRIES = 3;

    private static final Logger LOGGER = LoggerFactory.getLogger(EagerBatchAggregator.class);

    private final RequestQueue requests;
    private final CountDownLatch ended = new CountDownLatch(1);
    private volatile Channel worker;
    private final Runnable wake = () -> worker.eventLoop().execute(this::sendBatch);
    private volatile long sent;
    private boolean isServing;
    private boolean isRetired;
    private boolean isLast;

    EagerBatchAggregator(Model model, RequestQueue requests) {
        super(model);
        this.requests = requests;
    }

    /** Sends batches over this connection once the model is loaded. */
    void connect(Channel connection) {
        worker = connection;
    }

    /** Answers a batch and sends the next one, in place of TorchServe's handler. */
    private final class Answers extends ChannelInboundHandlerAdapter {
        @Override
        public void channelRead(ChannelHandlerContext context, Object answer) {
            if (batch() > 0 && sendResponse((ModelWorkerResponse) answer)) {
                // After what the clients have sent meanwhile has been read.
                wake.run();
            }
        }
    }

    /** Returns the time at which the worker's current batch was sent, as System.nanoTime(); 0 if there is none. */
    long batch() {
        return sent;
    }

    /** Returns the ids of the requests in the worker's current batch, as log lines have them. */
    String ids() {
        return jobs.values().stream()
                .map(job -> job.getPayload().getHeaders().get(AccessLog.ID))
                .collect(Collectors.joining(",", "request_id=", ""));
    }

    /** Ends the worker after its batch; the model's last worker empties the queue first. */
    synchronized void retire(boolean isLastOne) {
        isLast = isLastOne;
        isRetired = true;
        if (isServing) {
            wake.run();
        }
    }

    /** Returns with TorchServe's command to load the model; when there is none, serves until the worker ends. */
    @Override
    public void pollBatch(String id, WorkerState state) throws InterruptedException {
        if (!model.pollMgmtJob(id, 0, jobs)) {
            try {
                serve();
                // TorchServe interrupts this when the connection is closed.
                ended.await();
            } finally {
                shutdown();
            }
            throw new InterruptedException("The worker is retired.");
        }
    }

    private synchronized void serve() {
        isServing = true;
        worker.pipeline().addBefore(worker.pipeline().lastContext().name(), "answers", new Answers());
        wake.run();
    }

    /** Requeues the batch of a worker that has ended. */
    @Override
    public synchronized void shutdown() {
        isServing = false;
        requests.forget(wake);
        sendError(null, "Worker died.", 500);
    }

    private synchronized void sendBatch() {
        if (!isServing) {
            // It was woken for a request that it will not take.
            requests.wake();
        } else if (isRetired && sent == 0 && (!isLast || requests.isEmpty())) {
            isServing = false;
            ended.countDown();
        } else if (sent == 0) {
            Job first = requests.poll(wake);
            if (first != null) {
                take(first);
                ModelInferenceRequest batch = new ModelInferenceRequest(model.getModelName());
                for (Job job : jobs.values()) {
                    batch.setCommand(job.getCmd());
                    job.setScheduled();
                    batch.addRequest(job.getPayload());
                }
                worker.writeAndFlush(batch).addListener(ChannelFutureListener.CLOSE_ON_FAILURE);
            }
        }
    }

    /** Takes a request and those behind it that fit into one batch, whose bytes stay below the limit of one request. */
    private void take(Job first) {
        long bytes = 0;
        for (Job job = first; job != null; job = jobs.size() < model.getBatchSize() ? requests.poll() : null) {
            bytes += RequestQueue.bytesOf(job);
            if (job != first && (!isForBatch(job) || bytes > ConfigManager.getInstance().getMaxRequestSize())) {
                requests.addFirst(job);
                break;
            }
            jobs.put(job.getJobId(), job);
            if (!isForBatch(job)) {
                break;
            }
        }
        sent = System.nanoTime();
        Metrics.BATCH_REQUESTS.observe(jobs.size());
        for (Job job : jobs.values()) {
            Metrics.QUEUE_MS.observe((sent - job.getBegin()) / 1e6);
        }
    }

    /** Returns whether a request may share a batch; explanations take long, and are no faster together. */
    private boolean isForBatch(Job job) {
        return job.getCmd() == WorkerCommands.PREDICT
                && !requests.deaths.containsKey(job.getJobId())
                && !"True".equals(job.getPayload().getHeaders().get("explain"));
    }

    @Override
    public synchronized boolean sendResponse(ModelWorkerResponse message) {
        if (!requests.deaths.isEmpty()) {
            requests.deaths.keySet().removeAll(jobs.keySet());
        }
        for (Predictions answer : message.getPredictions()) {
            Job job = jobs.get(answer.getRequestId());
            if (job != null) {
                String wait = AccessLog.toMs(sent - job.getBegin());
                String known = "queue_ms=" + wait + " batch=" + jobs.size();
                answer.getHeaders().merge(AccessLog.FIELDS, known, (given, ours) -> ours + " " + given);
            }
        }
        boolean isDone = super.sendResponse(message);
        if (isDone && sent > 0) {
            Metrics.BATCH_MS.observe((System.nanoTime() - sent) / 1e6);
            sent = 0;
        }
        return isDone;
    }

    /** Requeues the requests of a dead worker. */
    @Override
    public synchronized void sendError(BaseModelRequest message, String error, int status) {
        sent = 0;
        if (!jobs.isEmpty()) {
            LOGGER.warn("A worker died: its requests are retried, unless two others died of them. {}", ids());
        }
        for (Job job : jobs.values()) {
            boolean isRetried =
                    job.getCmd() == WorkerCommands.PREDICT
                            && requests.deaths.merge(job.getJobId(), 1, Integer::sum) < TRIES
                            && requests.offerFirst(job);
            if (!isRetried) {
                requests.deaths.remove(job.getJobId());
                job.sendError(status, error);
            }
        }
        jobs.clear();
    }
}
