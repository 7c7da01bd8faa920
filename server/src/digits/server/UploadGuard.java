package digits.server;

import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelPipeline;
import io.netty.handler.codec.http.DefaultHttpHeadersFactory;
import io.netty.handler.codec.http.DefaultHttpRequest;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpMessage;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.multipart.DefaultHttpDataFactory;
import io.netty.handler.codec.http.multipart.HttpPostRequestDecoder;
import io.netty.handler.codec.http.multipart.InterfaceHttpData;
import io.netty.util.AsciiString;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.NettyUtils;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.ModelVersionedRefs;

/** Refuses requests that TorchServe would answer with a 500, and keeps it from parsing pictures as web forms. */
final class UploadGuard extends ChannelInboundHandlerAdapter {
    /** The separators of path segments. */
    static final Pattern SEPARATORS = Pattern.compile("[/:?]");

    private static final String MALFORMED = "The multipart form is malformed: send one picture in a named field.";
    private static final String TOO_MANY = "The form has more than 128 fields: send one picture in a named field.";
    private static final String TWICE = "The form has two fields of the same name: send one picture in a single field.";

    /** The headers that TorchServe or our handler reads: it writes all into each batch, and the worker parses them. */
    private static final List<CharSequence> READ =
            List.of(
                    HttpHeaderNames.CONTENT_TYPE, HttpHeaderNames.AUTHORIZATION,
                    AsciiString.cached("inference-header-content-length"), AccessLog.ID, AccessLog.TRACE);

    /** Queue capacity kept free for requests that several threads admit at the same time. */
    private static final int SPARE_CAPACITY = 64;

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        FullHttpRequest request = (FullHttpRequest) message;
        Model model = findModel(OpenInference.pathOf(request));
        if (model != null && isFull(model, request)) {
            Metrics.countRefused("queue_full");
            String sentence = "Too many requests are waiting: try again in a second.";
            refuse(context, request, HttpResponseStatus.SERVICE_UNAVAILABLE, sentence);
        } else {
            String problem = findProblem(request);
            if (problem != null) {
                Metrics.countRefused("malformed_form");
                refuse(context, request, HttpResponseStatus.BAD_REQUEST, problem);
                return;
            }
            if (HttpHeaderValues.APPLICATION_X_WWW_FORM_URLENCODED.contentEqualsIgnoreCase(
                    HttpUtil.getMimeType(request))) {
                request.headers().set(HttpHeaderNames.CONTENT_TYPE, HttpHeaderValues.APPLICATION_OCTET_STREAM);
            }
            if (model != null && OpenInference.isOurs(model)) {
                keepRead(request.headers());
            }
            context.fireChannelRead(message);
        }
    }

    private static void keepRead(HttpHeaders headers) {
        HttpHeaders kept = DefaultHttpHeadersFactory.headersFactory().withValidation(false).newHeaders();
        READ.stream().filter(headers::contains).forEach(name -> kept.set(name, headers.get(name)));
        headers.set(kept);
    }

    private static void refuse(
            ChannelHandlerContext context, FullHttpRequest request, HttpResponseStatus status, String sentence) {
        FullHttpResponse answer = Answers.error(status, sentence);
        if (status == HttpResponseStatus.SERVICE_UNAVAILABLE) {
            answer.headers().set(HttpHeaderNames.RETRY_AFTER, 1);
        }
        NettyUtils.sendHttpResponse(context, answer, false);
        request.release();
    }

    /** Returns whether the queue is full, for which TorchServe would blame a missing worker. */
    private static boolean isFull(Model model, FullHttpRequest request) {
        // Preflight requests need no worker.
        return !HttpMethod.OPTIONS.equals(request.method()) && model.getJobQueueRemainingCapacity() <= SPARE_CAPACITY;
    }

    /** Returns the model and version named in a path, the default version if none is, or null. */
    static Model findModel(String uri) {
        List<String> parts = Arrays.asList(SEPARATORS.split(uri));
        for (Map.Entry<String, ModelVersionedRefs> each : ModelManager.getInstance().getAllModels()) {
            int name = parts.indexOf(each.getKey());
            if (name >= 0) {
                for (String part : parts.subList(name + 1, parts.size())) {
                    Model version = each.getValue().getVersionModel(part);
                    if (version != null) {
                        return version;
                    }
                }
                return each.getValue().getDefaultModel();
            }
        }
        return null;
    }

    /** Returns the problem of a form that TorchServe cannot parse or would read only in part; null if there is none. */
    private static String findProblem(FullHttpRequest request) {
        HttpPostRequestDecoder form = null;
        try {
            if (!HttpPostRequestDecoder.isMultipart(request)) {
                return null;
            }
            // The body is offered afterwards: a decoder whose constructor throws cannot be destroyed.
            HttpRequest head =
                    new DefaultHttpRequest(
                            request.protocolVersion(), request.method(), request.uri(), request.headers());
            form = new HttpPostRequestDecoder(new DefaultHttpDataFactory(false), head);
            form.offer(request.duplicate());
            Set<String> names = new HashSet<>();
            boolean isRepeated = false;
            while (form.hasNext()) {
                InterfaceHttpData field = form.next();
                isRepeated |= !names.add(field.getName());
                field.release();
            }
            return isRepeated ? TWICE : null;
        } catch (HttpPostRequestDecoder.EndOfDataDecoderException e) {
            return null;
        } catch (HttpPostRequestDecoder.TooManyFormFieldsException e) {
            return TOO_MANY;
        } catch (RuntimeException e) {
            // Netty's parser also throws IndexOutOfBoundsException and charset exceptions.
            return MALFORMED;
        } finally {
            if (form != null) {
                form.destroy();
            }
        }
    }

    /** Collects a request's body, up to the size limit. */
    static final class Aggregator extends HttpObjectAggregator {
        Aggregator() {
            super(ConfigManager.getInstance().getMaxRequestSize());
        }

        /** Leaves an oversized request with Expect: 100-continue to handleOversizedMessage as well. */
        @Override
        protected Object newContinueResponse(HttpMessage request, int limit, ChannelPipeline pipeline) {
            if (isContentLengthInvalid(request, limit)) {
                return null;
            }
            FullHttpResponse answer = (FullHttpResponse) super.newContinueResponse(request, limit, pipeline);
            boolean isKnown = answer == null || HttpResponseStatus.CONTINUE.equals(answer.status());
            String sentence = "The service knows no expectation but 100-continue.";
            return isKnown ? answer : Answers.ownError(HttpResponseStatus.EXPECTATION_FAILED, sentence);
        }

        /** Closes after a 417: a client that sends its body all the same would have it taken for a request. */
        @Override
        protected boolean closeAfterContinueResponse(Object answer) {
            return HttpResponseStatus.EXPECTATION_FAILED.equals(((FullHttpResponse) answer).status());
        }

        /** Answers at once and keeps reading: closing while the client sends would lose the answer. */
        @Override
        protected void handleOversizedMessage(ChannelHandlerContext context, HttpMessage request) {
            Metrics.countRefused("too_large");
            String sentence = "The request is too large: send at most " + maxContentLength() + " bytes.";
            FullHttpResponse answer = Answers.ownError(HttpResponseStatus.REQUEST_ENTITY_TOO_LARGE, sentence);
            boolean isWaiting = HttpUtil.is100ContinueExpected(request);
            context.writeAndFlush(answer)
                    .addListener(isWaiting ? ChannelFutureListener.CLOSE : ChannelFutureListener.CLOSE_ON_FAILURE);
        }
    }
}
