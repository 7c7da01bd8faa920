package digits.server;

import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelOption;
import io.netty.channel.ChannelPipeline;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.group.ChannelGroup;
import io.netty.handler.codec.PrematureChannelClosureException;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.net.InetSocketAddress;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Adds our handlers to the pipeline of every connection that a port accepts.
 *
 * <p>TorchServe opens a port before its pipeline can be changed, but registers each connection with the event loop
 * that it was given. Intercepting that call misses no connection.
 */
final class ConnectionAcceptor {
    private static final Logger LOGGER = LoggerFactory.getLogger(ConnectionAcceptor.class);

    private ConnectionAcceptor() {}

    /** Returns an event loop that adds the handlers of the inference port. */
    static EventLoopGroup forInference(EventLoopGroup threads, ChannelGroup connections) {
        return amend(threads, pipeline -> {
            // TorchServe's setting drops unsent data when a connection is closed.
            pipeline.channel().config().setOption(ChannelOption.SO_LINGER, -1);
            pipeline.addAfter("http", "tracker", new RequestTracker(connections));
            pipeline.addAfter("tracker", "gate", new BodyGate(BodyBudget.SHARED));
            pipeline.replace("aggregator", "aggregator", new UploadGuard.Aggregator());
            pipeline.addAfter("aggregator", "answers", new AnswerWriter());
            pipeline.addAfter("answers", "browsers", BrowserGuard.forInference());
            pipeline.addAfter("browsers", "decoder", new BodyDecoder());
            pipeline.addAfter("decoder", "protocol", new OpenInference());
            pipeline.addAfter("protocol", "guard", new UploadGuard());
        });
    }

    /** Returns an event loop that adds the handlers of the management port. */
    static EventLoopGroup forManagement(EventLoopGroup threads, InetSocketAddress address) {
        return amend(threads, pipeline -> {
            pipeline.addAfter("aggregator", "browsers", BrowserGuard.forManagement(address));
            pipeline.addAfter("browsers", "guard", new ManagementGuard());
        });
    }

    /** Returns an event loop that adds the handler of the metrics port. */
    static EventLoopGroup forMetrics(EventLoopGroup threads, InetSocketAddress address) {
        return amend(
                threads, pipeline -> pipeline.addAfter("aggregator", "browsers", BrowserGuard.forMetrics(address)));
    }

    private static EventLoopGroup amend(EventLoopGroup threads, Consumer<ChannelPipeline> amend) {
        Class<?>[] type = {EventLoopGroup.class};
        Object amending =
                Proxy.newProxyInstance(EventLoopGroup.class.getClassLoader(), type, (proxy, method, arguments) -> {
                    if (method.getName().equals("register")) {
                        ((Channel) arguments[0]).pipeline().addLast(new PipelineAmender(amend));
                    }
                    try {
                        return method.invoke(threads, arguments);
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                });
        return (EventLoopGroup) amending;
    }

    /** Amends a pipeline once TorchServe has set it up, then removes itself. */
    private static final class PipelineAmender extends ChannelInboundHandlerAdapter {
        private final Consumer<ChannelPipeline> amend;

        PipelineAmender(Consumer<ChannelPipeline> amend) {
            this.amend = amend;
        }

        @Override
        public void channelActive(ChannelHandlerContext context) {
            amend.accept(context.pipeline());
            context.pipeline().addBefore("handler", "breaks", new BreakLogger());
            context.pipeline().remove(this);
            context.fireChannelActive();
        }
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
