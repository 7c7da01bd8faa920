package digits.server;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.embedded.EmbeddedChannel;
import io.netty.handler.codec.http.DefaultFullHttpRequest;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpVersion;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Set;
import org.junit.Before;
import org.junit.BeforeClass;
import org.junit.Test;

/** Which versions are listed, which one a path means, and the form of errors. */
public final class OpenInferenceTest {
    private EmbeddedChannel channel;

    @BeforeClass
    public static void startTorchServe() {
        TorchServe.start();
    }

    @Before
    public void connect() throws IOException {
        OpenInference protocol = new OpenInference(new Readiness(Set.of()));
        channel = new EmbeddedChannel(new AnswerWriter(), new RequestChecks(protocol::check));
    }

    private static String text(FullHttpResponse answer) {
        return answer.content().toString(StandardCharsets.UTF_8);
    }

    @Test
    public void itsVersionsAreListed() {
        channel.writeInbound(new DefaultFullHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.GET, "/v2/models/mnist"));
        String described = text(channel.readOutbound());
        assertTrue(described, described.contains("\"1.0\"") && described.contains("\"2.0\""));
    }

    @Test
    public void theVersionInAPathIsPassedToTorchServeInItsOwnWay() {
        String[][] paths = {
            {"/v2/models/mnist/versions/1.0/infer", "/predictions/mnist/1.0"},
            {"/v1/models/mnist/versions/1.0:explain", "/explanations/mnist/1.0"},
            {"/v2/models/mnist/infer", "/v2/models/mnist/infer"},
            {"/predictions/mnist/1.0", "/predictions/mnist/1.0"},
        };
        for (String[] pair : paths) {
            channel.writeInbound(new DefaultFullHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.POST, pair[0]));
            assertEquals(pair[1], channel.<FullHttpRequest>readInbound().uri());
        }
    }

    @Test
    public void aFullQueueOfOneVersionLeavesTheOthersAlone() {
        for (String path : new String[] {
            "/predictions/mnist", "/explanations/mnist/1.0?x=1", "/v1/models/mnist:predict", "/predictions/mnist/2.0",
            "/v2/models/mnist/versions/2.0/infer"}) {
            channel.writeInbound(new DefaultFullHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.POST, path));
            boolean isFull = path.contains("2.0");
            assertEquals(path, isFull, channel.readInbound() == null);
            FullHttpResponse answer = channel.readOutbound();
            assertEquals(path, isFull, answer != null);
            assertTrue(path, !isFull || answer.headers().contains("Retry-After", "1", false));
        }
    }

    @Test
    public void aPathOfNoModelIsA404() {
        for (String path : new String[] {
            "/predictions/letters", "/predictions/mnist/9.9", "/v1/models/letters:predict"}) {
            channel.writeInbound(new DefaultFullHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.POST, path));
            assertEquals(path, 404, channel.<FullHttpResponse>readOutbound().status().code());
        }
    }

    /** Returns a connection on which every request gets an error of TorchServe, which then closes it. */
    private static EmbeddedChannel failing() {
        String body = "{\"code\": 404, \"type\": \"X\", \"message\": \"No \\\"such\\\" thing.\"}";
        return new EmbeddedChannel(new AnswerWriter(), new ChannelInboundHandlerAdapter() {
            @Override
            public void channelRead(ChannelHandlerContext context, Object message) {
                ByteBuf content = Unpooled.copiedBuffer(body, StandardCharsets.UTF_8);
                Object error =
                        new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, HttpResponseStatus.NOT_FOUND, content);
                context.writeAndFlush(error).addListener(ChannelFutureListener.CLOSE);
            }
        });
    }

    @Test
    public void anErrorIsASentenceAndLeavesTheConnectionAsTheClientWishes() {
        for (HttpVersion version : new HttpVersion[] {HttpVersion.HTTP_1_1, HttpVersion.HTTP_1_0}) {
            EmbeddedChannel connection = failing();
            connection.writeInbound(new DefaultFullHttpRequest(version, HttpMethod.POST, "/"));
            FullHttpResponse answer = connection.readOutbound();
            assertEquals("{\"error\":\"No \\\"such\\\" thing.\"}", text(answer));
            assertEquals(String.valueOf(answer.content().readableBytes()), answer.headers().get("Content-Length"));
            assertEquals(version.isKeepAliveDefault(), connection.isOpen());
        }
    }
}
