package digits.server;

import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelOption;
import io.netty.channel.ChannelPipeline;
import io.netty.channel.group.ChannelGroup;
import java.util.function.Consumer;

/** Adds our handlers to the pipeline of each connection that a port accepts. */
final class ConnectionAcceptor extends ChannelInboundHandlerAdapter {
    private final Consumer<ChannelPipeline> amend;

    private ConnectionAcceptor(Consumer<ChannelPipeline> amend) {
        this.amend = amend;
    }

    /** Returns that of the inference port. */
    static ConnectionAcceptor forInference(ChannelGroup connections) {
        return new ConnectionAcceptor(pipeline -> {
            // TorchServe's setting makes the system drop unsent data when a connection is closed.
            pipeline.channel().config().setOption(ChannelOption.SO_LINGER, -1);
            pipeline.addAfter("http", "tracker", new RequestTracker(connections));
            pipeline.addAfter("tracker", "gate", new BodyGate(BodyBudget.SHARED));
            pipeline.replace("aggregator", "aggregator", new UploadGuard.Aggregator());
            pipeline.addAfter("aggregator", "errors", new ErrorWriter());
            pipeline.addAfter("errors", "decoder", new BodyDecoder());
            pipeline.addAfter("decoder", "protocol", new OpenInference());
            pipeline.addAfter("protocol", "guard", new UploadGuard());
        });
    }

    /** Returns that of the management port. */
    static ConnectionAcceptor forManagement() {
        return new ConnectionAcceptor(pipeline -> pipeline.addAfter("aggregator", "guard", new ManagementGuard()));
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
            amend.accept(context.pipeline());
            context.pipeline().remove(this);
            context.fireChannelActive();
        }
    }
}
