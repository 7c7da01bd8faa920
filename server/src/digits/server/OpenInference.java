package digits.server;

import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.QueryStringDecoder;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.pytorch.serve.archive.model.ModelVersionNotFoundException;
import org.pytorch.serve.util.NettyUtils;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.ModelVersionedRefs;

/**
 * Answers the health and metadata requests of the Open Inference Protocol and its predecessor.
 *
 * <p>TorchServe handles only predictions, those of protocol 2 without a model version; its /ping is Healthy without a
 * worker.
 */
final class OpenInference extends ChannelInboundHandlerAdapter {
    private static final String VERSIONED =
            "/v(?<protocol>[12])/models/(?<model>[^/:?%#]+)(?:/versions/(?<version>[^/:?%#]+))?";
    private static final Pattern MODEL = Pattern.compile(VERSIONED + "(?<ready>/ready)?");
    private static final Pattern PREDICTION =
            Pattern.compile(
                    "/(?:predictions|explanations)/[^/]+(?:/[^/]+)?"
                            + "|" + VERSIONED + "[:/](?<verb>predict|infer|explain)");
    private static final Set<HttpMethod> READING = Set.of(HttpMethod.GET, HttpMethod.HEAD, HttpMethod.OPTIONS);
    private static final Set<HttpMethod> SENDING = Set.of(HttpMethod.POST, HttpMethod.PUT, HttpMethod.OPTIONS);
    private static final byte[] OPENAPI = readResource("openapi.json");
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
                    tensor("error", "BYTES", -1));

    private final Readiness readiness;

    OpenInference(Readiness readiness) {
        this.readiness = readiness;
    }

    private static byte[] readResource(String name) {
        try (InputStream stream = OpenInference.class.getResourceAsStream(name)) {
            return stream.readAllBytes();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        FullHttpRequest request = (FullHttpRequest) message;
        FullHttpResponse answer = answer(request);
        if (answer == null) {
            context.fireChannelRead(message);
        } else {
            NettyUtils.sendHttpResponse(context, answer, true);
            request.release();
        }
    }

    /** Returns the answer to a request; null for TorchServe to answer, with its path rewritten where needed. */
    private FullHttpResponse answer(FullHttpRequest request) {
        String path = pathOf(request);
        Matcher prediction = PREDICTION.matcher(path);
        if (prediction.matches()) {
            if (!SENDING.contains(request.method())) {
                return refuseMethod(request, "POST, PUT, OPTIONS");
            }
            if (prediction.group("version") != null) {
                String verb = prediction.group("verb").equals("explain") ? "/explanations/" : "/predictions/";
                request.setUri(verb + prediction.group("model") + "/" + prediction.group("version"));
            }
            return null;
        }
        FullHttpResponse answer = answer(path);
        if (answer != null && !READING.contains(request.method())) {
            return refuseMethod(request, "GET, HEAD, OPTIONS");
        }
        // TorchServe answers preflight requests.
        return HttpMethod.OPTIONS.equals(request.method()) ? null : answer;
    }

    /** Returns a request's path as TorchServe understands it: without the query, its escapes decoded. */
    static String pathOf(FullHttpRequest request) {
        return new QueryStringDecoder(request.uri()).path();
    }

    private static FullHttpResponse refuseMethod(FullHttpRequest request, String allow) {
        String sentence = "Method " + request.method() + " is not allowed here: use one of " + allow + ".";
        FullHttpResponse answer = Answers.error(HttpResponseStatus.METHOD_NOT_ALLOWED, sentence);
        answer.headers().set(HttpHeaderNames.ALLOW, allow);
        return answer;
    }

    /** Returns the answer to GET; null if the path does not belong to the protocol. */
    private FullHttpResponse answer(String path) {
        switch (path) {
            case "/openapi.json":
                return Answers.json(HttpResponseStatus.OK, OPENAPI);
            case "/v2":
            case "/v2/":
                return Answers.json(HttpResponseStatus.OK, SERVER);
            case "/v2/health/live":
                return Answers.json(HttpResponseStatus.OK, Map.of("live", true));
            case "/v2/health/ready":
                return answerReady(Map.of(), readiness.areReady());
            case "/v1/models":
                return Answers.json(HttpResponseStatus.OK, Map.of("models", namesOf(models())));
            default:
                Matcher model = MODEL.matcher(path);
                return model.matches() ? describe(model) : null;
        }
    }

    private FullHttpResponse describe(Matcher asked) {
        String name = asked.group("model");
        String version = asked.group("version");
        Model model;
        try {
            model = ModelManager.getInstance().getModel(name, version);
        } catch (ModelVersionNotFoundException e) {
            model = null;
        }
        if (model == null) {
            String which = version == null ? "" : " in version " + version;
            return Answers.error(HttpResponseStatus.NOT_FOUND, "There is no model " + name + which + ".");
        }
        if (asked.group("protocol").equals("2") && asked.group("ready") == null) {
            return Answers.json(HttpResponseStatus.OK, describeModel(model));
        }
        return answerReady(Map.of("name", name), readiness.isReady(model));
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
        return entries.stream().map(Map.Entry::getKey).collect(Collectors.toList());
    }

    /** Returns whether a model's handler is that of handler/digit_handler.py. */
    static boolean isOurs(Model model) {
        return "digit_handler.py".equals(model.getModelArchive().getHandler());
    }

    private static Map<String, Object> describeModel(Model model) {
        String name = model.getModelName();
        // What another handler takes and gives is unknown.
        boolean isOurs = isOurs(model);
        List<String> versions =
                models().stream()
                        .filter(each -> each.getKey().equals(name))
                        .flatMap(each -> namesOf(each.getValue().getAllVersions()).stream())
                        .collect(Collectors.toList());
        return Map.of(
                "name", name, "versions", versions, "platform", "pytorch_torchserve",
                "inputs", isOurs ? INPUTS : List.of(), "outputs", isOurs ? OUTPUTS : List.of());
    }

    private static Map<String, Object> tensor(String name, String datatype, Integer... shape) {
        return Map.of("name", name, "datatype", datatype, "shape", List.of(shape));
    }
}
