package digits.server;

import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpVersion;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The rules of HTTP for the head of a request that Netty does not check. */
final class HeadGuard {
    /** A name or an address, in lower case, perhaps with a port. */
    static final Pattern HOST =
            Pattern.compile("(?:\\[(?<ipv6>[0-9a-f:.]+)]|(?<name>[0-9a-z_-]+(?:\\.[0-9a-z_-]+)*+)\\.?)(?::\\d{0,5})?");

    private static final Pattern ABSOLUTE = Pattern.compile("(?i)https?://(?<host>[^/?]+)(?<path>/?.*)");
    /** Printable ASCII without the # of a fragment, and with no escape that TorchServe cannot decode. */
    private static final Pattern TARGET = Pattern.compile("(?:[!-\"$&-~]|%\\p{XDigit}{2})++");

    private HeadGuard() {}

    /** Reduces an absolute URL to its path. Throws Refusal for a head that breaks a rule. */
    static void check(HttpRequest request, boolean isFolded) {
        HttpVersion version = request.protocolVersion();
        boolean isOld = version.equals(HttpVersion.HTTP_1_0);
        if (!isOld && !version.equals(HttpVersion.HTTP_1_1)) {
            String sentence = "The service speaks HTTP/1.1 and HTTP/1.0.";
            throw new Refusal(HttpResponseStatus.HTTP_VERSION_NOT_SUPPORTED, sentence);
        }
        HttpHeaders headers = request.headers();
        String expected = headers.get(HttpHeaderNames.EXPECT);
        if (expected != null && !isOld && !HttpHeaderValues.CONTINUE.contentEqualsIgnoreCase(expected)) {
            String sentence = "The service knows no expectation but 100-continue.";
            throw new Refusal(HttpResponseStatus.EXPECTATION_FAILED, sentence);
        }
        // Proxies may disagree about where a body ends that has another coding, or a length too.
        List<String> codings = headers.getAll(HttpHeaderNames.TRANSFER_ENCODING);
        boolean isChunked = codings.size() == 1 && HttpHeaderValues.CHUNKED.contentEqualsIgnoreCase(codings.get(0));
        require(!isFolded, "A header must not begin with a space.");
        require(
                codings.isEmpty() || isChunked && !isOld && !headers.contains(HttpHeaderNames.CONTENT_LENGTH),
                "The body must have a Content-Length, or in HTTP/1.1 the Transfer-Encoding chunked.");
        require(
                TARGET.matcher(request.uri()).matches(),
                "The URL has a malformed escape or character: write % as %25.");
        require(
                hasHost(request, isOld),
                "The request must have exactly one Host header, with a name or an address.");
        require(
                request.uri().startsWith("/") || isForServer(request),
                "The path of the request must begin with /.");
    }

    private static void require(boolean isKept, String rule) {
        if (!isKept) {
            throw new Refusal(HttpResponseStatus.BAD_REQUEST, rule);
        }
    }

    /** Returns whether a request concerns the whole server. */
    static boolean isForServer(HttpRequest request) {
        return request.uri().equals("*") && HttpMethod.OPTIONS.equals(request.method());
    }

    /** Returns whether a request names one host, which an absolute URL replaces; HTTP/1.0 needs none. */
    private static boolean hasHost(HttpRequest request, boolean isOld) {
        List<String> hosts = request.headers().getAll(HttpHeaderNames.HOST);
        Matcher absolute = ABSOLUTE.matcher(request.uri());
        if (absolute.matches() && (isOld ? hosts.size() < 2 : hosts.size() == 1)) {
            String path = absolute.group("path");
            request.setUri(path.startsWith("/") ? path : "/" + path);
            hosts = List.of(absolute.group("host"));
            request.headers().set(HttpHeaderNames.HOST, hosts.get(0));
        }
        boolean isOne = hosts.size() == 1 && HOST.matcher(hosts.get(0).toLowerCase(Locale.ROOT)).matches();
        return isOne || isOld && hosts.isEmpty();
    }
}
