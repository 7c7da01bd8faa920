package digits.server;

import io.netty.channel.Channel;
import io.netty.channel.ChannelPipeline;
import io.netty.channel.group.ChannelGroup;
import io.netty.handler.codec.http.HttpServerKeepAliveHandler;
import io.netty.handler.ssl.SslContext;
import org.pytorch.serve.ServerInitializer;
import org.pytorch.serve.util.ConnectorType;

/** Sets up the pipeline of each connection that a port accepts: TorchServe's, with our handlers in front. */
final class ConnectionInitializer extends ServerInitializer {
    private final boolean isInference;
    private final RequestChecks checks;
    private final ChannelGroup connections;
    private final BodyBudget budget;

    /** Connections of the inference port join the group, and leave it when they are closed; they share the budget. */
    ConnectionInitializer(
            SslContext tls, ConnectorType type, RequestChecks checks, ChannelGroup connections, BodyBudget budget) {
        super(tls, type);
        isInference = type == ConnectorType.INFERENCE_CONNECTOR;
        this.checks = checks;
        this.connections = connections;
        this.budget = budget;
    }

    @Override
    public void initChannel(Channel channel) {
        super.initChannel(channel);
        ChannelPipeline pipeline = channel.pipeline();
        pipeline.replace("http", "http", new StrictCodec());
        pipeline.addAfter("http", "access", new AccessLog());
        if (isInference) {
            pipeline.addAfter("http", "tracker", new RequestTracker(connections));
            pipeline.replace("aggregator", "collector", new BodyCollector(budget));
            pipeline.addAfter("collector", "answers", new AnswerWriter());
        } else {
            pipeline.addAfter("http", "alive", new HttpServerKeepAliveHandler());
        }
        pipeline.addBefore("handler", "checks", checks);
    }
}
