package digits.server;

import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelPipeline;
import io.netty.channel.group.ChannelGroup;
import io.netty.handler.codec.PrematureChannelClosureException;
import io.netty.handler.codec.http.HttpServerKeepAliveHandler;
import io.netty.handler.ssl.SslContext;
import java.io.IOException;
import java.net.InetSocketAddress;
import org.pytorch.serve.ServerInitializer;
import org.pytorch.serve.util.ConnectorType;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Sets up the pipeline of each connection that a port accepts: TorchServe's, with our handlers in front. */
final class ConnectionInitializer extends ServerInitializer {
    private static final Logger LOGGER = LoggerFactory.getLogger(ConnectionInitializer.class);

    private final ConnectorType type;
    private final InetSocketAddress address;
    private final ChannelGroup connections;
    private final Readiness readiness;

    /** Connections of the inference port join the group, and leave it when they are closed. */
    ConnectionInitializer(
            SslContext tls, ConnectorType type, InetSocketAddress address, ChannelGroup connections,
            Readiness readiness) {
        super(tls, type);
        this.type = type;
        this.address = address;
        this.connections = connections;
        this.readiness = readiness;
    }

    @Override
    public void initChannel(Channel channel) {
        super.initChannel(channel);
        ChannelPipeline pipeline = channel.pipeline();
        pipeline.replace("http", "http", new StrictCodec());
        pipeline.addAfter("aggregator", "head", new HeadGuard());
        switch (type) {
            case INFERENCE_CONNECTOR:
                pipeline.addAfter("http", "tracker", new RequestTracker(connections));
                pipeline.addAfter("tracker", "access", new AccessLog());
                pipeline.addAfter("access", "gate", new BodyGate(BodyBudget.SHARED));
                pipeline.replace("aggregator", "aggregator", new UploadGuard.Aggregator());
                pipeline.addAfter("head", "answers", new AnswerWriter());
                pipeline.addAfter("answers", "browsers", BrowserGuard.forInference());
                pipeline.addAfter("browsers", "decoder", new BodyDecoder());
                pipeline.addAfter("decoder", "protocol", new OpenInference(readiness));
                pipeline.addAfter("protocol", "guard", new UploadGuard());
                break;
            case MANAGEMENT_CONNECTOR:
                pipeline.addAfter("http", "alive", new HttpServerKeepAliveHandler());
                pipeline.addAfter("alive", "access", new AccessLog());
                pipeline.addAfter("head", "browsers", BrowserGuard.forManagement(address));
                pipeline.addAfter("browsers", "guard", new ManagementGuard());
                break;
            default:
                pipeline.addAfter("http", "alive", new HttpServerKeepAliveHandler());
                pipeline.addAfter("alive", "access", new AccessLog());
                pipeline.addAfter("head", "browsers", BrowserGuard.forMetrics(address));
                break;
        }
        pipeline.addBefore("handler", "breaks", new BreakLogger());
    }

    /** Logs a client that breaks off its request in one line: TorchServe would print a stack trace. */
    private static final class BreakLogger extends ChannelInboundHandlerAdapter {
        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
            if (cause instanceof PrematureChannelClosureException) {
                LOGGER.warn("{} broke off its request.", context.channel().remoteAddress());
            } else if (cause instanceof IOException) {
                // A request that has arrived is in access.log.
                context.close();
            } else {
                context.fireExceptionCaught(cause);
            }
        }
    }
}
