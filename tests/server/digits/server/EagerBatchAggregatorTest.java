package digits.server;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.embedded.EmbeddedChannel;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import org.junit.After;
import org.junit.Before;
import org.junit.BeforeClass;
import org.junit.Test;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.util.messages.ModelInferenceRequest;
import org.pytorch.serve.util.messages.ModelWorkerResponse;
import org.pytorch.serve.util.messages.Predictions;
import org.pytorch.serve.util.messages.RequestInput;
import org.pytorch.serve.util.messages.WorkerCommands;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.WorkerState;

/** Which requests a worker gets, and what becomes of them. */
public final class EagerBatchAggregatorTest {
    private final List<String> answers = new ArrayList<>();
    private final List<String> errors = new ArrayList<>();
    private Model model;
    private Worker worker;

    @BeforeClass
    public static void startTorchServe() {
        TorchServe.start();
    }

    @Before
    public void serveAModel() throws Exception {
        model = TorchServe.model("1.0");
        worker = new Worker();
    }

    @After
    public void emptyQueue() throws Exception {
        worker.die();
        RequestQueue.of(model, TorchServe.BUDGET).refuseAll();
    }

    /** A worker that has loaded the model, and the thread that TorchServe gives it. */
    private final class Worker {
        private final EagerBatchAggregator batches =
                new EagerBatchAggregator(model, RequestQueue.of(model, TorchServe.BUDGET));
        private final EmbeddedChannel connection = new EmbeddedChannel(new ChannelInboundHandlerAdapter());
        private final Thread thread = new Thread(this::serve);
        private volatile String end = "";

        Worker() {
            batches.connect(connection);
            thread.start();
            while (thread.getState() != Thread.State.WAITING) {
                Thread.onSpinWait();
            }
        }

        private void serve() {
            try {
                batches.getRequest("9000", WorkerState.WORKER_MODEL_LOADED);
            } catch (InterruptedException | ExecutionException e) {
                end = String.valueOf(e.getMessage());
            }
        }

        /** Returns the requests of the batch that the worker was sent. */
        List<String> read() {
            connection.runPendingTasks();
            ModelInferenceRequest batch = connection.readOutbound();
            return batch == null ? List.of()
                    : batch.getRequestBatch().stream().map(RequestInput::getRequestId).collect(Collectors.toList());
        }

        void answer(String... ids) {
            ModelWorkerResponse answer = new ModelWorkerResponse();
            answer.setCode(200);
            List<Predictions> predictions = new ArrayList<>();
            for (String id : ids) {
                Predictions prediction = new Predictions();
                prediction.setRequestId(id);
                prediction.setHeaders(new HashMap<>());
                predictions.add(prediction);
            }
            answer.setPredictions(predictions);
            connection.writeInbound(answer);
        }

        /** Ends as TorchServe lets it when its connection is closed. */
        void die() throws InterruptedException {
            thread.interrupt();
            thread.join();
        }
    }

    /** A request that remembers its answer. */
    private final class Request extends Job {
        Request(String id) {
            super("mnist", null, WorkerCommands.PREDICT, new RequestInput(id));
        }

        @Override
        public void response(
                byte[] body, CharSequence type, int status, String phrase, Map<String, String> headers) {
            answers.add(getJobId());
        }

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

    @Test
    public void aWorkerTakesWhatWaitsUpToTheBatchSize() {
        queue("a", "b", "c", "d", "e");
        assertEquals(List.of("a", "b", "c", "d"), worker.read());
        assertEquals(List.of(), worker.read());
        worker.answer("a", "b", "c", "d");
        assertEquals(List.of("e"), worker.read());
        worker.answer("e");
        assertEquals(List.of(), worker.read());
        queue("f");
        assertEquals(List.of("f"), worker.read());
        assertEquals(List.of("a", "b", "c", "d", "e"), answers);
    }

    @Test
    public void aRequestForExplanationsIsABatchByItself() {
        queue("a", "b", "c");
        Request explained = new Request("explained");
        explained.getPayload().updateHeaders("explain", "True");
        assertTrue(model.addJob(explained));
        queue("d");
        assertEquals(List.of("a", "b", "c"), worker.read());
        worker.answer("a", "b", "c");
        assertEquals(List.of("explained"), worker.read());
        worker.answer("explained");
        assertEquals(List.of("d"), worker.read());
    }

    @Test
    public void aRequestFailsAfterThreeDeaths() throws Exception {
        queue("poison", "late");
        assertEquals(List.of("poison", "late"), worker.read());
        for (int deaths = 1; deaths < 3; deaths++) {
            assertEquals(List.of(), errors);
            worker.die();
            worker = new Worker();
            assertEquals(1, worker.read().size());
        }
        worker.die();
        worker = new Worker();
        assertEquals(1, errors.size());
    }

    @Test
    public void aRetiredWorkerTakesNoMore() throws Exception {
        queue("g");
        assertEquals(List.of("g"), worker.read());
        queue("h");
        worker.batches.retire(false);
        assertEquals(List.of(), worker.read());
        worker.answer("g");
        assertEquals(List.of(), worker.read());
        worker.thread.join();
        assertEquals("The worker is retired.", worker.end);
        assertEquals(1, model.getPendingRequestsInJobQueue());
    }

    @Test
    public void theLastRetiredWorkerEmptiesTheQueue() throws Exception {
        queue("i");
        worker.batches.retire(true);
        assertEquals(List.of("i"), worker.read());
        queue("j");
        worker.answer("i");
        assertEquals(List.of("j"), worker.read());
        worker.answer("j");
        assertEquals(List.of(), worker.read());
        worker.thread.join();
    }

    @Test
    public void theWorkerThatWasBusyLastGetsALoneRequest() throws Exception {
        worker.read();
        Worker last = new Worker();
        last.read();
        queue("l");
        assertEquals(List.of("l"), last.read());
        queue("m");
        assertEquals(List.of("m"), worker.read());
        worker.answer("m");
        last.answer("l");
        last.read();
        queue("n");
        assertEquals(List.of("n"), last.read());
        last.die();
    }

    @Test
    public void aWorkerThatDiesWaitingPassesItsRequestOn() throws Exception {
        worker.read();
        Worker dying = new Worker();
        dying.read();
        queue("o");
        dying.die();
        assertEquals(List.of(), dying.read());
        assertEquals(List.of("o"), worker.read());
        assertEquals(List.of(), errors);
    }

    @Test
    public void theRequestsOfAModelWithoutWorkersAreRefused() {
        queue("p", "q");
        RequestQueue.of(model, TorchServe.BUDGET).refuseAll();
        assertEquals(List.of("p 503", "q 503"), errors);
        assertEquals(0, model.getPendingRequestsInJobQueue());
    }
}
