package digits.server;

import io.netty.handler.codec.TooLongFrameException;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.util.AsciiString;
import org.pytorch.serve.http.ErrorResponse;

/** Why a request is refused: a status, and a sentence for the client. */
final class Refusal extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final transient HttpResponseStatus status;
    private final transient AsciiString header;
    private final String value;

    Refusal(HttpResponseStatus status, String sentence) {
        this(status, sentence, null, null);
    }

    /** Has a header of the answer too. */
    Refusal(HttpResponseStatus status, String sentence, AsciiString header, String value) {
        // Without a stack trace, which would take longer than the check.
        super(sentence, null, false, false);
        this.status = status;
        this.header = header;
        this.value = value;
    }

    /** Is over in a second. */
    static Refusal later(String sentence) {
        return new Refusal(HttpResponseStatus.SERVICE_UNAVAILABLE, sentence, HttpHeaderNames.RETRY_AFTER, "1");
    }

    /** Returns the same, counted in digit_refused_total. */
    Refusal counted(String reason) {
        Metrics.countRefused(reason);
        return this;
    }

    /** Returns why a request is refused that could not be decoded. */
    static Refusal of(Throwable cause) {
        if (cause instanceof Refusal refusal) {
            return refusal;
        }
        if (!(cause instanceof TooLongFrameException)) {
            return new Refusal(HttpResponseStatus.BAD_REQUEST, "The request is not valid HTTP.");
        }
        if (cause.getMessage().contains("header")) {
            String sentence = "The headers of the request are too large: send at most 8192 bytes.";
            return new Refusal(HttpResponseStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, sentence);
        }
        String sentence = "The request line is too long: send at most 4096 bytes.";
        return new Refusal(HttpResponseStatus.REQUEST_URI_TOO_LONG, sentence);
    }

    /** Returns the answer, in TorchServe's format, which AnswerWriter rewrites. */
    FullHttpResponse answer() {
        ErrorResponse error = new ErrorResponse(status.code(), status.reasonPhrase(), getMessage());
        FullHttpResponse answer = Answers.json(status, error);
        if (header != null) {
            answer.headers().set(header, value);
        }
        return answer;
    }
}
