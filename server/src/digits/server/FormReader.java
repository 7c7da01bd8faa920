package digits.server;

import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http.DefaultHttpRequest;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.multipart.DefaultHttpDataFactory;
import io.netty.handler.codec.http.multipart.FileUpload;
import io.netty.handler.codec.http.multipart.HttpData;
import io.netty.handler.codec.http.multipart.HttpPostRequestDecoder;
import io.netty.handler.codec.http.multipart.HttpPostRequestDecoder.TooManyFormFieldsException;
import io.netty.handler.codec.http.multipart.InterfaceHttpData;
import io.netty.util.AsciiString;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;

/** Takes the one upload out of a multipart form, so that neither TorchServe nor a worker parses forms. */
final class FormReader {
    /** Fields beside the upload, and from here on headers: docs/api.md. */
    static final List<AsciiString> OPTIONS =
            Stream.of("read", "mask", "truth", "keep").map(AsciiString::cached).toList();

    private static final int LONGEST_OPTION = 100;

    private FormReader() {}

    /** Returns a request with the upload as its body; the request itself if it has no form. */
    static FullHttpRequest read(FullHttpRequest request) {
        HttpPostRequestDecoder form = null;
        try {
            if (!HttpPostRequestDecoder.isMultipart(request)) {
                return request;
            }
            // The body is offered afterwards: a decoder whose constructor throws cannot be destroyed.
            HttpRequest head =
                    new DefaultHttpRequest(
                            request.protocolVersion(), request.method(), request.uri(), request.headers());
            form = new HttpPostRequestDecoder(new DefaultHttpDataFactory(false), head);
            form.offer(request.duplicate());
            HttpData upload = findUpload(form.getBodyHttpDatas(), request.headers());
            FullHttpRequest plain = request.replace(Unpooled.wrappedBuffer(upload.get()));
            request.release();
            return plain;
        } catch (TooManyFormFieldsException e) {
            throw refuse("The form has more than 128 fields: send one picture in a named field.");
        } catch (Refusal e) {
            throw e;
        } catch (IOException | RuntimeException e) {
            // Netty's parser also throws IndexOutOfBoundsException and charset exceptions.
            throw refuse("The multipart form is malformed: send one picture in a named field.");
        } finally {
            if (form != null) {
                form.destroy();
            }
        }
    }

    /** Returns the only field, or the only file: browsers and test tools add other fields. */
    private static HttpData findUpload(List<InterfaceHttpData> fields, HttpHeaders headers) throws IOException {
        Set<String> names = new HashSet<>();
        List<HttpData> uploads = new ArrayList<>();
        for (InterfaceHttpData each : fields) {
            HttpData field = (HttpData) each;
            if (!names.add(field.getName())) {
                throw refuse("The form has two fields of the same name: send one picture in a single field.");
            }
            if (OPTIONS.stream().anyMatch(option -> option.contentEquals(field.getName()))) {
                if (field.length() > LONGEST_OPTION) {
                    throw refuse("The form's field " + field.getName() + " is too long.");
                }
                headers.set(field.getName(), field.getString());
            } else {
                uploads.add(field);
            }
        }
        List<HttpData> files = uploads.stream().filter(FileUpload.class::isInstance).toList();
        List<HttpData> found = uploads.size() == 1 ? uploads : files;
        if (found.size() != 1) {
            int count = files.isEmpty() ? uploads.size() : files.size();
            throw refuse("The form has " + count + " fields: send one picture in a single field.");
        }
        return found.get(0);
    }

    private static Refusal refuse(String sentence) {
        return new Refusal(HttpResponseStatus.BAD_REQUEST, sentence).counted("malformed_form");
    }
}
