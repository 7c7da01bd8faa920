package digits.server;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.junit.After;
import org.junit.Before;
import org.junit.BeforeClass;
import org.junit.Test;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.util.messages.ModelInferenceRequest;
import org.pytorch.serve.util.messages.RequestInput;
import org.pytorch.serve.util.messages.WorkerCommands;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.WorkerState;

/** Which requests a worker gets, and what becomes of them. */
public final class EagerBatchAggregatorTest {
    private final List<String> errors = new ArrayList<>();
    private Model model;
    private EagerBatchAggregator aggregator;

    @BeforeClass
    public static void startTorchServe() {
        TorchServe.start();
    }

    @Before
    public void serveAModel() throws Exception {
        model = TorchServe.model("1.0");
        aggregator = new EagerBatchAggregator(model);
    }

    @After
    public void emptyQueue() {
        EagerBatchAggregator.refuseAll(model);
    }

    /** A request that remembers the error it gets. */
    private final class Request extends Job {
        Request(String id) {
            super("mnist", null, WorkerCommands.PREDICT, new RequestInput(id));
        }

        @Override
        public void response(
                byte[] body, CharSequence type, int status, String phrase, Map<String, String> headers) {}

        @Override
        public void sendError(int status, String error) {
            errors.add(getJobId() + " " + status);
        }

        @Override
        public boolean isOpen() {
            return true;
        }
    }

    private void queue(String... ids) {
        for (String id : ids) {
            assertTrue(model.addJob(new Request(id)));
        }
    }

    private List<String> poll(EagerBatchAggregator worker) throws Exception {
        List<String> ids = new ArrayList<>();
        ModelInferenceRequest batch =
                (ModelInferenceRequest) worker.getRequest("9000", WorkerState.WORKER_MODEL_LOADED);
        batch.getRequestBatch().forEach(each -> ids.add(each.getRequestId()));
        return ids;
    }

    @Test
    public void aWorkerTakesWhatWaitsUpToTheBatchSize() throws Exception {
        queue("a", "b", "c", "d", "e");
        assertEquals(List.of("a", "b", "c", "d"), poll(aggregator));
        assertEquals(List.of("e"), poll(aggregator));
    }

    @Test
    public void aRequestForExplanationsIsABatchByItself() throws Exception {
        queue("a", "b", "c");
        Request explained = new Request("explained");
        explained.getPayload().updateHeaders("explain", "True");
        assertTrue(model.addJob(explained));
        queue("d");
        assertEquals(List.of("a", "b", "c"), poll(aggregator));
        assertEquals(List.of("explained"), poll(aggregator));
        assertEquals(List.of("d"), poll(aggregator));
    }

    @Test
    public void aRequestFailsAfterThreeDeaths() throws Exception {
        queue("poison");
        for (int deaths = 0; deaths < 3; deaths++) {
            assertEquals(List.of(), errors);
            assertEquals(List.of("poison"), poll(aggregator));
            aggregator.sendError(null, "Worker died.", 500);
        }
        assertEquals(List.of("poison 500"), errors);
    }

    @Test
    public void aRetiredWorkerTakesNoMoreAndALastOneEmptiesTheQueue() throws Exception {
        queue("i");
        EagerBatchAggregator retired = new EagerBatchAggregator(model);
        retired.retire(false);
        assertThrows(InterruptedException.class, () -> poll(retired));
        aggregator.retire(true);
        assertEquals(List.of("i"), poll(aggregator));
        assertThrows(InterruptedException.class, () -> poll(aggregator));
    }

    /** Starts a worker that waits for a request, and adds what it gets to a list. */
    private Thread waitingWorker(String name, List<String> taken) throws Exception {
        EagerBatchAggregator waiting = new EagerBatchAggregator(model);
        Thread thread = new Thread(() -> {
            try {
                poll(waiting).forEach(id -> taken.add(name + " " + id));
            } catch (Exception e) {
                taken.add(name + " " + e.getMessage());
            }
        });
        thread.start();
        while (thread.getState() != Thread.State.TIMED_WAITING) {
            Thread.onSpinWait();
        }
        return thread;
    }

    @Test
    public void theWorkerThatWasBusyLastGetsALoneRequest() throws Exception {
        List<String> taken = Collections.synchronizedList(new ArrayList<>());
        Thread first = waitingWorker("first", taken);
        Thread last = waitingWorker("last", taken);
        // Longer than between two checks whether they are retired.
        Thread.sleep(250);
        queue("l");
        last.join();
        assertEquals(List.of("last l"), taken);
        queue("m");
        first.join();
        assertEquals(List.of("last l", "first m"), taken);
    }

    @Test
    public void aWorkerThatDiesWaitingWaitsNoMore() throws Exception {
        List<String> taken = Collections.synchronizedList(new ArrayList<>());
        Thread dying = waitingWorker("dying", taken);
        dying.interrupt();
        dying.join();
        assertEquals(List.of("dying The worker has died."), taken);
        queue("n");
        assertEquals(List.of("n"), poll(aggregator));
    }

    @Test
    public void theRequestsOfAModelWithoutWorkersAreRefused() {
        queue("j", "k");
        EagerBatchAggregator.refuseAll(model);
        assertEquals(List.of("j 503", "k 503"), errors);
        assertEquals(0, model.getPendingRequestsInJobQueue());
    }
}
