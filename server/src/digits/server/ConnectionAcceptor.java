package digits.server;

import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelOption;
import io.netty.channel.ChannelPipeline;
import io.netty.channel.group.ChannelGroup;

/** Adds our handlers to the pipeline of each connection that the inference port accepts. */
final class ConnectionAcceptor extends ChannelInboundHandlerAdapter {
    private final ChannelGroup connections;

    ConnectionAcceptor(ChannelGroup connections) {
        this.connections = connections;
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object connection) {
        ((Channel) connection).pipeline().addLast(new PipelineAmender());
        context.fireChannelRead(connection);
    }

    /** Amends a pipeline once TorchServe has set it up, and leaves it. */
    private final class PipelineAmender extends ChannelInboundHandlerAdapter {
        @Override
        public void channelActive(ChannelHandlerContext context) {
            ChannelPipeline pipeline = context.pipeline();
            // TorchServe's setting makes the system drop unsent data when a connection is closed.
            context.channel().config().setOption(ChannelOption.SO_LINGER, -1);
            pipeline.addAfter("http", "tracker", new RequestTracker(connections));
            pipeline.addAfter("tracker", "gate", new BodyGate(BodyBudget.SHARED));
            pipeline.replace("aggregator", "aggregator", new UploadGuard.Aggregator());
            pipeline.addAfter("aggregator", "guard", new UploadGuard());
            pipeline.remove(this);
            context.fireChannelActive();
        }
    }
}
