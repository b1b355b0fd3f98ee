package io.counterset.app;

import io.micronaut.context.event.BeanCreatedEvent;
import io.micronaut.context.event.BeanCreatedEventListener;
import io.micronaut.http.netty.channel.ChannelPipelineCustomizer;
import io.micronaut.http.server.netty.NettyServerCustomizer;
import io.netty.channel.Channel;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandler.Sharable;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.LastHttpContent;
import jakarta.inject.Singleton;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * Empties the server's connections before it stops. To close one between two requests loses the request that is on its way, and
 * its sender cannot know whether it was counted. So for a moment every answer says that its connection ends with it, and
 * only what is still open after that is idle, and closed. Thread-safe.
 */
@Singleton
final class Drain implements BeanCreatedEventListener<NettyServerCustomizer.Registry> {

    private final AtomicInteger open = new AtomicInteger();
    private final Handler handler = new Handler();
    private volatile boolean draining;

    @Override
    public NettyServerCustomizer.Registry onCreated(BeanCreatedEvent<NettyServerCustomizer.Registry> event) {
        event.getBean().register(new Customizer(null));
        return event.getBean();
    }

    /** Whether the process has been told to stop. */
    boolean isDraining() {
        return draining;
    }

    /** Begins, and returns once no connection is open or the time is over. */
    void drain(Duration atMost) throws InterruptedException {
        draining = true;
        long until = System.nanoTime() + atMost.toNanos();
        synchronized (open) {
            for (long left = atMost.toMillis(); open.get() > 0 && left > 0; ) {
                open.wait(left);
                left = (until - System.nanoTime()) / 1_000_000;
            }
        }
    }

    private final class Customizer implements NettyServerCustomizer {

        private final @Nullable Channel channel;

        Customizer(@Nullable Channel channel) {
            this.channel = channel;
        }

        @Override
        public NettyServerCustomizer specializeForChannel(Channel made, ChannelRole role) {
            return new Customizer(made);
        }

        @Override
        public void onStreamPipelineBuilt() {
            if (channel != null) {
                channel.pipeline().addBefore(ChannelPipelineCustomizer.HANDLER_MICRONAUT_INBOUND, "drain", handler);
            }
        }
    }

    @Sharable
    private final class Handler extends ChannelDuplexHandler {

        @Override
        public void handlerAdded(ChannelHandlerContext context) {
            open.incrementAndGet();
        }

        @Override
        public void handlerRemoved(ChannelHandlerContext context) {
            if (open.decrementAndGet() == 0) {
                synchronized (open) {
                    open.notifyAll();
                }
            }
        }

        @Override
        public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) throws Exception {
            if (draining) {
                if (message instanceof HttpResponse response) {
                    response.headers().set(HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE);
                }
                if (message instanceof LastHttpContent) {
                    super.write(context, message, promise.unvoid().addListener(ChannelFutureListener.CLOSE));
                    return;
                }
            }
            super.write(context, message, promise);
        }
    }
}
