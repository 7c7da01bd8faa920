package digits.server;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpVersion;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.pytorch.serve.archive.model.ModelVersionNotFoundException;
import org.pytorch.serve.util.NettyUtils;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.ModelVersionedRefs;
import org.pytorch.serve.wlm.WorkerState;

/**
 * Answers what clients of the Open Inference Protocol and its predecessor ask before they send pictures.
 *
 * <p>TorchServe itself only knows the requests that carry pictures, and those of version 2 without a version of the
 * model; /ping says Healthy without a worker.
 */
final class OpenInference extends ChannelInboundHandlerAdapter {
    private static final String VERSIONED =
            "/v(?<protocol>[12])/models/(?<model>[^/:]+)(?:/versions/(?<version>[^/:]+))?";
    private static final Pattern MODEL = Pattern.compile(VERSIONED + "(?<ready>/ready)?");
    private static final Pattern PREDICTION =
            Pattern.compile(
                    "/(?:predictions|explanations)/[^/]+(?:/[^/]+)?"
                            + "|" + VERSIONED + "[:/](?<verb>predict|infer|explain)");
    private static final Set<HttpMethod> READING = Set.of(HttpMethod.GET, HttpMethod.HEAD, HttpMethod.OPTIONS);
    private static final Set<HttpMethod> SENDING = Set.of(HttpMethod.POST, HttpMethod.PUT, HttpMethod.OPTIONS);
    private static final byte[] OPENAPI = readResource("openapi.json");

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
        String path = request.uri().split("\\?", 2)[0];
        Matcher prediction = PREDICTION.matcher(path);
        boolean isPrediction = prediction.matches();
        FullHttpResponse answer = null;
        if (isPrediction) {
            answer = refuseMethod(request, SENDING, "POST, PUT, OPTIONS");
            if (answer == null && prediction.group("version") != null) {
                String verb = prediction.group("verb").equals("explain") ? "/explanations/" : "/predictions/";
                request.setUri(verb + prediction.group("model") + "/" + prediction.group("version"));
            }
        } else {
            FullHttpResponse found = answer(path);
            if (found != null) {
                answer = refuseMethod(request, READING, "GET, HEAD, OPTIONS");
                // TorchServe answers a browser's preflight.
                if (answer == null && !HttpMethod.OPTIONS.equals(request.method())) {
                    answer = found;
                }
            }
        }
        if (answer == null) {
            context.fireChannelRead(message);
        } else {
            NettyUtils.sendHttpResponse(context, answer, true);
            request.release();
        }
    }

    private static FullHttpResponse refuseMethod(FullHttpRequest request, Set<HttpMethod> methods, String allow) {
        if (methods.contains(request.method())) {
            return null;
        }
        FullHttpResponse answer =
                UploadGuard.error(
                        HttpResponseStatus.METHOD_NOT_ALLOWED,
                        "This path does not take the method " + request.method() + ": use one of " + allow + ".");
        answer.headers().set(HttpHeaderNames.ALLOW, allow);
        return answer;
    }

    /** Returns the answer to GET of a path; null if it is none of the protocol's. */
    private static FullHttpResponse answer(String path) {
        switch (path) {
            case "/openapi.json":
                return json(HttpResponseStatus.OK, OPENAPI);
            case "/v2":
            case "/v2/":
                return json(HttpResponseStatus.OK, describeServer());
            case "/v2/health/live":
                return json(HttpResponseStatus.OK, say("live", true));
            case "/v2/health/ready":
                return answerReady(new JsonObject(), isReady());
            case "/v1/models":
                return json(HttpResponseStatus.OK, listModels());
            default:
                Matcher model = MODEL.matcher(path);
                return model.matches() ? describe(model) : null;
        }
    }

    private static FullHttpResponse describe(Matcher asked) {
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
            // Both come from the client.
            return json(HttpResponseStatus.NOT_FOUND, say("error", "There is no model " + name + which + "."));
        }
        boolean isFirst = asked.group("protocol").equals("1");
        if (!isFirst && asked.group("ready") == null) {
            return json(HttpResponseStatus.OK, describeModel(model));
        }
        JsonObject answer = new JsonObject();
        answer.addProperty("name", name);
        return answerReady(answer, isReady(model));
    }

    private static FullHttpResponse answerReady(JsonObject answer, boolean isReady) {
        answer.addProperty("ready", isReady);
        return json(isReady ? HttpResponseStatus.OK : HttpResponseStatus.SERVICE_UNAVAILABLE, answer);
    }

    /** Tells whether every model can read a picture now. */
    private static boolean isReady() {
        Set<Map.Entry<String, ModelVersionedRefs>> models = ModelManager.getInstance().getAllModels();
        return !models.isEmpty() && models.stream().allMatch(each -> isReady(each.getValue().getDefaultModel()));
    }

    private static boolean isReady(Model model) {
        return model != null
                && ModelManager.getInstance().getWorkers(model.getModelVersionName()).stream()
                        .anyMatch(each -> each.getState() == WorkerState.WORKER_MODEL_LOADED);
    }

    private static JsonObject describeServer() {
        JsonObject server = new JsonObject();
        server.addProperty("name", "TorchServe");
        server.addProperty("version", "0.12.0");
        JsonArray extensions = new JsonArray();
        extensions.add("binary_tensor_data");
        server.add("extensions", extensions);
        return server;
    }

    private static JsonObject listModels() {
        JsonArray names = new JsonArray();
        ModelManager.getInstance().getAllModels().forEach(each -> names.add(each.getKey()));
        JsonObject models = new JsonObject();
        models.add("models", names);
        return models;
    }

    private static JsonObject describeModel(Model model) {
        JsonArray versions = new JsonArray();
        ModelManager.getInstance().getAllModels().stream()
                .filter(each -> each.getKey().equals(model.getModelName()))
                .forEach(each -> each.getValue().getAllVersions().forEach(version -> versions.add(version.getKey())));
        JsonArray inputs = new JsonArray();
        inputs.add(describeTensor("pixels", "UINT8", -1, 28, 28));
        JsonArray outputs = new JsonArray();
        outputs.add(describeTensor("digit", "INT64", -1));
        outputs.add(describeTensor("confidence", "FP32", -1));
        outputs.add(describeTensor("certain", "BOOL", -1));
        outputs.add(describeTensor("probabilities", "FP32", -1, 10));
        outputs.add(describeTensor("error", "BYTES", -1));
        JsonObject described = new JsonObject();
        described.addProperty("name", model.getModelName());
        described.add("versions", versions);
        described.addProperty("platform", "pytorch_torchserve");
        described.add("inputs", inputs);
        described.add("outputs", outputs);
        return described;
    }

    private static JsonObject describeTensor(String name, String datatype, int... sides) {
        JsonArray shape = new JsonArray();
        for (int side : sides) {
            shape.add(side);
        }
        JsonObject tensor = new JsonObject();
        tensor.addProperty("name", name);
        tensor.addProperty("datatype", datatype);
        tensor.add("shape", shape);
        return tensor;
    }

    private static JsonObject say(String name, Object value) {
        JsonObject said = new JsonObject();
        if (value instanceof Boolean) {
            said.addProperty(name, (Boolean) value);
        } else {
            said.addProperty(name, (String) value);
        }
        return said;
    }

    static FullHttpResponse json(HttpResponseStatus status, JsonObject answer) {
        return json(status, answer.toString().getBytes(StandardCharsets.UTF_8));
    }

    private static FullHttpResponse json(HttpResponseStatus status, byte[] text) {
        FullHttpResponse answer =
                new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, status, Unpooled.wrappedBuffer(text));
        answer.headers().set(HttpHeaderNames.CONTENT_TYPE, HttpHeaderValues.APPLICATION_JSON);
        return answer;
    }
}
