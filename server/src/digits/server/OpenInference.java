package digits.server;

import io.netty.handler.codec.http.DefaultHttpHeadersFactory;
import io.netty.handler.codec.http.FullHttpMessage;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.QueryStringDecoder;
import io.netty.util.AsciiString;
import java.io.IOException;
import java.io.InputStream;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.pytorch.serve.archive.model.ModelVersionNotFoundException;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.ModelVersionedRefs;

/**
 * Answers the health and metadata requests of the Open Inference Protocol and its predecessor; prepares predictions.
 *
 * <p>TorchServe handles only predictions, those of protocol 2 without a model version; its /ping is Healthy without a
 * worker.
 */
final class OpenInference {
    private static final String VERSIONED =
            "/v(?<protocol>[12])/models/(?<model>[^/:?%#]+)(?:/versions/(?<version>[^/:?%#]+))?";
    private static final Pattern MODEL = Pattern.compile(VERSIONED + "(?<ready>/ready)?");
    private static final Pattern KSERVE_PREDICTION = Pattern.compile(VERSIONED + "[:/](?<verb>predict|infer|explain)");
    private static final Pattern PREDICTION =
            Pattern.compile("/(?:predictions|explanations)/(?<model>[^/]+)(?:/(?<version>[^/]+))?");

    /** The headers that TorchServe or our handler reads: it writes all into each batch, and the worker parses them. */
    private static final List<CharSequence> READ =
            Stream.<CharSequence>concat(
                            FormReader.OPTIONS.stream(),
                            Stream.of(
                                    HttpHeaderNames.AUTHORIZATION, AsciiString.cached("max-truths"),
                                    AsciiString.cached("inference-header-content-length"),
                                    AccessLog.ID, AccessLog.TRACE))
                    .toList();

    /** Queue capacity kept free for requests that several threads admit at the same time. */
    private static final int SPARE_CAPACITY = 64;

    private static final Map<String, Object> SERVER =
            Map.of("name", "TorchServe", "version", "0.12.0", "extensions", List.of("binary_tensor_data"));

    /** The tensors of handler/tensors.py. */
    private static final List<Map<String, Object>> INPUTS = List.of(tensor("pixels", "UINT8", -1, 28, 28));

    private static final List<Map<String, Object>> OUTPUTS =
            List.of(
                    tensor("digit", "INT64", -1),
                    tensor("confidence", "FP32", -1),
                    tensor("certain", "BOOL", -1),
                    tensor("probabilities", "FP32", -1, 10),
                    tensor("numbers", "BYTES", -1),
                    tensor("error", "BYTES", -1));

    private final Readiness readiness;
    private final byte[] openapi;

    OpenInference(Readiness readiness) throws IOException {
        this.readiness = readiness;
        try (InputStream resource = OpenInference.class.getResourceAsStream("openapi.json")) {
            openapi = resource.readAllBytes();
        }
    }

    /** Returns the answer to a request, or a request for TorchServe to answer. */
    FullHttpMessage check(FullHttpRequest request) {
        // Without the query, its escapes decoded, as in TorchServe.
        String path = new QueryStringDecoder(request.uri()).path();
        Matcher prediction = PREDICTION.matcher(path);
        if (prediction.matches()) {
            return prepare(request, findModel(prediction));
        }
        prediction = KSERVE_PREDICTION.matcher(path);
        if (prediction.matches()) {
            FullHttpRequest prepared = prepare(request, findModel(prediction));
            if (prediction.group("version") != null) {
                String verb = prediction.group("verb").equals("explain") ? "/explanations/" : "/predictions/";
                prepared.setUri(verb + prediction.group("model") + "/" + prediction.group("version"));
            }
            return prepared;
        }
        FullHttpResponse answer = answer(path);
        if (answer == null) {
            return request;
        }
        requireMethod(request, "GET", "HEAD", "OPTIONS");
        // TorchServe answers preflight requests.
        return HttpMethod.OPTIONS.equals(request.method()) ? request : answer;
    }

    private static void requireMethod(FullHttpRequest request, String... methods) {
        if (!List.of(methods).contains(request.method().name())) {
            String allow = String.join(", ", methods);
            String sentence = "Method " + request.method() + " is not allowed here: use one of " + allow + ".";
            throw new Refusal(HttpResponseStatus.METHOD_NOT_ALLOWED, sentence, HttpHeaderNames.ALLOW, allow);
        }
    }

    /** Returns a request for a prediction as TorchServe is to see it. Throws Refusal if the queue is full. */
    private static FullHttpRequest prepare(FullHttpRequest request, Model model) {
        requireMethod(request, "POST", "PUT", "OPTIONS");
        // Preflight requests need no worker. TorchServe would blame a missing worker.
        boolean isFull = model.getJobQueueRemainingCapacity() <= SPARE_CAPACITY;
        if (isFull && !HttpMethod.OPTIONS.equals(request.method())) {
            throw Refusal.later("Too many requests are waiting: try again in a second.").counted("queue_full");
        }
        if (isOurs(model)) {
            FullHttpRequest plain = FormReader.read(request);
            HttpHeaders kept = DefaultHttpHeadersFactory.headersFactory().withValidation(false).newHeaders();
            READ.stream().filter(plain.headers()::contains).forEach(name -> kept.set(name, plain.headers().get(name)));
            plain.headers().set(kept);
            return plain;
        }
        if (HttpHeaderValues.APPLICATION_X_WWW_FORM_URLENCODED.contentEqualsIgnoreCase(HttpUtil.getMimeType(request))) {
            // Of curl --data-binary.
            request.headers().set(HttpHeaderNames.CONTENT_TYPE, HttpHeaderValues.APPLICATION_OCTET_STREAM);
        }
        return request;
    }

    /** Returns the model that a path names, in its default version unless it names one. Throws Refusal. */
    private static Model findModel(Matcher path) {
        String name = path.group("model");
        String version = path.group("version");
        Model model = null;
        try {
            model = ModelManager.getInstance().getModel(name, version);
        } catch (ModelVersionNotFoundException e) {
            // As if there were no model.
        }
        if (model == null) {
            String which = version == null ? "" : " in version " + version;
            throw new Refusal(HttpResponseStatus.NOT_FOUND, "There is no model " + name + which + ".");
        }
        return model;
    }

    /** Returns the answer to GET; null if the path does not belong to the protocol. */
    private FullHttpResponse answer(String path) {
        return switch (path) {
            case "/openapi.json" -> Answers.json(HttpResponseStatus.OK, openapi);
            case "/v2", "/v2/" -> Answers.json(HttpResponseStatus.OK, SERVER);
            case "/v2/health/live" -> Answers.json(HttpResponseStatus.OK, Map.of("live", true));
            case "/v2/health/ready" -> answerReady(Map.of(), readiness.areReady());
            case "/v1/models" -> Answers.json(HttpResponseStatus.OK, Map.of("models", namesOf(models())));
            default -> answer(MODEL.matcher(path));
        };
    }

    private FullHttpResponse answer(Matcher path) {
        if (!path.matches()) {
            return null;
        }
        Model model = findModel(path);
        boolean isReadiness = path.group("protocol").equals("1") || path.group("ready") != null;
        return isReadiness
                ? answerReady(Map.of("name", model.getModelName()), readiness.isReady(model))
                : Answers.json(HttpResponseStatus.OK, describe(model));
    }

    private static FullHttpResponse answerReady(Map<String, Object> whose, boolean isReady) {
        Map<String, Object> answer = new TreeMap<>(whose);
        answer.put("ready", isReady);
        return Answers.json(isReady ? HttpResponseStatus.OK : HttpResponseStatus.SERVICE_UNAVAILABLE, answer);
    }

    private static Set<Map.Entry<String, ModelVersionedRefs>> models() {
        return ModelManager.getInstance().getAllModels();
    }

    private static List<String> namesOf(Set<? extends Map.Entry<String, ?>> entries) {
        return entries.stream().map(Map.Entry::getKey).toList();
    }

    /** Returns whether a model's handler is that of handler/digit_handler.py. */
    private static boolean isOurs(Model model) {
        return "digit_handler.py".equals(model.getModelArchive().getHandler());
    }

    private static Map<String, Object> describe(Model model) {
        String name = model.getModelName();
        // What another handler takes and gives is unknown.
        boolean isOurs = isOurs(model);
        List<String> versions =
                models().stream()
                        .filter(each -> each.getKey().equals(name))
                        .flatMap(each -> namesOf(each.getValue().getAllVersions()).stream())
                        .toList();
        return Map.of(
                "name", name, "versions", versions, "platform", "pytorch_torchserve",
                "inputs", isOurs ? INPUTS : List.of(), "outputs", isOurs ? OUTPUTS : List.of());
    }

    private static Map<String, Object> tensor(String name, String datatype, Integer... shape) {
        return Map.of("name", name, "datatype", datatype, "shape", List.of(shape));
    }
}
