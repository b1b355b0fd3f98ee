// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.context.event.BeanCreatedEvent;
import io.micronaut.context.event.BeanCreatedEventListener;
import io.micronaut.http.netty.channel.ChannelPipelineCustomizer;
import io.micronaut.http.server.netty.NettyServerCustomizer;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelPipeline;
import io.netty.channel.ChannelPromise;
import io.netty.channel.WriteBufferWaterMark;
import io.netty.channel.socket.SocketChannel;
import io.netty.handler.codec.DateFormatter;
import io.netty.handler.codec.DecoderResult;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpObject;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpStatusClass;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.handler.ssl.SslHandler;
import io.netty.util.ReferenceCountUtil;
import io.netty.util.concurrent.Future;
import jakarta.annotation.PreDestroy;
import jakarta.inject.Singleton;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.Date;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import javax.net.ssl.SSLException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Bounds the cost of each connection, and drains all connections before the server stops.
 * Thread-safe.
 *
 * <ul>
 *   <li>A connection has at most one request in progress. Pipelined requests stay in the socket,
 *       except for one buffer.
 *   <li>Nothing is read after a request that ends its connection: it could be counted without being
 *       answered.
 *   <li>A client has {@link #HEAD_SECONDS} to send the head of a request from its first byte, and
 *       {@link #STALL_SECONDS} to read answers. A body that is still arriving when its request is
 *       answered ends the connection.
 *   <li>At most {@code counter.max-connections} are open. Beyond that, a new connection replaces
 *       the one that has been idle longest.
 * </ul>
 *
 * <p>Closing a connection between two requests can race with a request in flight; its sender then
 * cannot tell whether it was counted. While the server drains, every response therefore carries
 * {@code Connection: close}.
 */
@Singleton
final class Connections implements BeanCreatedEventListener<NettyServerCustomizer.Registry> {

    /** How long the head of a request may take, in seconds. */
    static final int HEAD_SECONDS = 10;

    /** How long a client may leave answers unread before its connection is closed, in seconds. */
    static final int STALL_SECONDS = 30;

    /**
     * How many bytes are read and discarded after the last answer of a connection, so that the
     * client receives that answer.
     */
    static final int MOST_DISCARDED_BYTES = 256 * 1024;

    /** How long bytes are discarded, in seconds. */
    static final int DISCARD_SECONDS = 2;

    /** How many bytes are decoded at a time: too few for more than 16 requests. */
    private static final int SLICE = 256;

    /**
     * The unsent bytes of answers at which a connection stops taking requests, and at which it
     * resumes.
     */
    private static final WriteBufferWaterMark UNSENT = new WriteBufferWaterMark(8 * 1024, 16 * 1024);

    private static final Logger LOG = LoggerFactory.getLogger(Connections.class);

    private final Map<Channel, Connection> all = new ConcurrentHashMap<>();
    private final AtomicInteger open = new AtomicInteger();
    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor(task -> {
        Thread made = new Thread(task, "counterset-connections");
        made.setDaemon(true);
        return made;
    });
    private final int most;
    private final Refusals refusals;
    private final @Nullable ServerTls tls;
    private final int managementPort;

    /**
     * Seconds since the start: precise enough for limits in seconds, and costs nothing to read for
     * each request.
     */
    private volatile int now;

    private final long started = System.nanoTime();

    private volatile boolean draining;

    Connections(CounterSettings settings, Refusals refusals, Optional<ServerTls> tls) {
        this.tls = tls.orElse(null);
        this.managementPort = settings.managementPort();
        this.most = settings.maxConnections();
        this.refusals = refusals;
        ScheduledFuture<?> unused = timer.scheduleAtFixedRate(this::tick, 1, 1, TimeUnit.SECONDS);
    }

    @Override
    public NettyServerCustomizer.Registry onCreated(BeanCreatedEvent<NettyServerCustomizer.Registry> event) {
        event.getBean().register(new Customizer(null));
        return event.getBean();
    }

    /** Returns whether the process has been asked to stop. */
    boolean isDraining() {
        return draining;
    }

    /** Starts to drain, and returns once no connection is open or the time has passed. */
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

    /** Returns how many connections are open. */
    int open() {
        return open.get();
    }

    private void tick() {
        try {
            refusals.tick();
            checkTimes(seconds());
        } catch (RuntimeException e) {
            LOG.error("checking the connections failed", e);
        }
    }

    private int seconds() {
        return (int) ((System.nanoTime() - started) / 1_000_000_000);
    }

    /**
     * Ends the connections that have exceeded a limit at the given time, in seconds since the
     * start.
     */
    private void checkTimes(int second) {
        now = second;
        all.values().forEach(Connection::checkTime);
    }

    /** Ends now the connections that would exceed a limit after that time, for tests. */
    void checkTimesIn(int seconds) {
        checkTimes(seconds() + seconds);
    }

    @PreDestroy
    void close() {
        timer.shutdownNow();
    }

    /**
     * Makes room when no descriptors are left for new connections: closes the eighth of all
     * connections that has been idle longest.
     */
    private void evictSome() {
        refusals.acceptFailed();
        all.values().stream()
                .filter(connection -> connection.isIdle)
                .map(connection ->
                        Map.entry(connection.idleSince, connection)) // a copy, since it may change while sorting
                .sorted(Map.Entry.comparingByKey())
                .limit(1 + open.get() / 8)
                .map(Map.Entry::getValue)
                .forEach(connection -> {
                    connection.isIdle = false;
                    connection.channel.eventLoop().execute(connection::closeNow);
                });
    }

    /**
     * Makes room for a new connection: closes the one that has been idle longest, or the new one if
     * none is idle.
     */
    private synchronized void evict(Connection newest) {
        Connection victim = newest;
        long longest = -1;
        long time = System.nanoTime();
        for (Connection connection : all.values()) {
            long idle = time - connection.idleSince;
            if (connection != newest && connection.isIdle && idle > longest) {
                longest = idle;
                victim = connection;
            }
        }
        refusals.connectionClosed();
        victim.isIdle = false; // so that the next eviction picks another one
        victim.channel.eventLoop().execute(victim::closeNow);
    }

    /** Returns the answer as bytes, because there is no request that the framework could answer. */
    private static byte[] headTimeout() {
        Problem.Type type = Problem.Type.REQUEST_TIMEOUT;
        String body = "{\"type\":\"" + type + "\",\"title\":\"" + type.title()
                + "\",\"status\":408,\"increment\":\"not-applied\"}";
        return ("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nDate: "
                        + DateFormatter.format(Date.from(Instant.now()))
                        + "\r\nContent-Type: " + Problem.MEDIA_TYPE
                        + "\r\nContent-Length: " + body.length() + "\r\n\r\n" + body)
                .getBytes(StandardCharsets.US_ASCII);
    }

    private final class Customizer implements NettyServerCustomizer {

        private final @Nullable Channel channel;

        Customizer(@Nullable Channel channel) {
            this.channel = channel;
        }

        @Override
        public NettyServerCustomizer specializeForChannel(Channel made, ChannelRole role) {
            if (role == ChannelRole.LISTENER) {
                // After the handler that waits a second after a failure, which Netty adds later.
                made.eventLoop().execute(() -> made.pipeline().addLast("counterset-accept", new Accepting()));
            }
            return new Customizer(made);
        }

        @Override
        public void onStreamPipelineBuilt() {
            if (channel != null) {
                ChannelPipeline pipeline = channel.pipeline();
                if (tls != null
                        && !(channel.localAddress() instanceof InetSocketAddress local
                                && local.getPort() == managementPort)) {
                    pipeline.addFirst(ChannelPipelineCustomizer.HANDLER_SSL, tls.handler(channel.alloc()));
                }
                Connection connection = new Connection(channel);
                pipeline.addBefore(
                        ChannelPipelineCustomizer.HANDLER_MICRONAUT_INBOUND, "counterset-requests", connection);
                if (pipeline.get(ChannelPipelineCustomizer.HANDLER_HTTP_SERVER_CODEC) != null) {
                    pipeline.addBefore(
                            ChannelPipelineCustomizer.HANDLER_HTTP_SERVER_CODEC, "counterset-bytes", connection.bytes);
                }
            }
        }
    }

    /** Handles failures to accept connections. Netty would log a stack trace for each. */
    private final class Accepting extends ChannelInboundHandlerAdapter {

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) throws Exception {
            if (cause instanceof IOException) {
                LOG.debug("accepting a connection failed", cause);
                evictSome();
            } else {
                super.exceptionCaught(context, cause);
            }
        }
    }

    /**
     * One connection. This handler sees requests and answers; {@link #bytes} sees the bytes before
     * they are decoded. Only the event loop uses the fields, except {@link #idleSince},
     * {@link #headSince} and {@link #stalledSince}.
     */
    private final class Connection extends ChannelDuplexHandler {

        static final int BUSY = Integer.MAX_VALUE;

        private final Channel channel;
        private final boolean secure;
        private final Bytes bytes = new Bytes();
        private final Queue<Object> decoded = new ArrayDeque<>(4);
        private @Nullable ChannelHandlerContext context;

        // In seconds as in now, or BUSY. The timer finds late requests.
        private volatile boolean isIdle = true;
        private volatile long idleSince = System.nanoTime();
        private volatile int headSince = BUSY;
        private volatile int stalledSince = BUSY;

        private boolean passing; // a request has been passed on, but not its end
        private boolean received = true; // the last request has arrived completely
        private boolean answered = true; // its answer is completely written
        private boolean ending; // nothing after the last request is accepted
        private boolean delivering;
        private boolean linger; // there may be unread bytes, so closing now would reset the connection

        Connection(Channel channel) {
            this.channel = channel;
            this.secure = channel.pipeline().get(SslHandler.class) != null;
            channel.config().setWriteBufferWaterMark(UNSENT);
        }

        boolean mayTakeRequest() {
            return (!received || answered) && channel.isWritable();
        }

        @Override
        public void handlerAdded(ChannelHandlerContext context) {
            this.context = context;
            all.put(channel, this);
            if (open.incrementAndGet() > most) {
                evict(this);
            }
        }

        @Override
        public void handlerRemoved(ChannelHandlerContext context) {
            all.remove(channel);
            decoded.forEach(ReferenceCountUtil::release);
            decoded.clear();
            if (open.decrementAndGet() == 0) {
                synchronized (open) {
                    open.notifyAll();
                }
            }
        }

        /** Called by the timer's thread: only decides, and leaves the action to the event loop. */
        private void checkTime() {
            int second = now;
            if (second - headSince > HEAD_SECONDS && headSince != BUSY) {
                channel.eventLoop().execute(() -> {
                    if (headSince != BUSY && now - headSince > HEAD_SECONDS) {
                        headSince = BUSY;
                        ending = true;
                        refusals.count(Problem.Type.REQUEST_TIMEOUT);
                        bytes.endWith(headTimeout());
                    }
                });
            } else if (stalledSince != BUSY && second - stalledSince > STALL_SECONDS) {
                channel.eventLoop().execute(this::closeNow);
            }
        }

        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            if (message instanceof HttpRequest) {
                headSince = BUSY;
                isIdle = false;
            }
            decoded.add(message);
            deliver();
        }

        /** Passes on decoded messages, up to the end of the one request that may be in progress. */
        private void deliver() {
            ChannelHandlerContext context = this.context;
            if (delivering || context == null) {
                return;
            }
            delivering = true;
            try {
                while (!decoded.isEmpty() && (passing || mayTakeRequest())) {
                    Object message = decoded.remove();
                    if (!passing && ending) {
                        linger = true;
                        ReferenceCountUtil.release(message);
                        continue;
                    }
                    if (message instanceof HttpRequest request) {
                        requireValid(request);
                        passing = true;
                        answered = false;
                        boolean failed = request.decoderResult().isFailure();
                        received = failed
                                || (!HttpUtil.isTransferEncodingChunked(request)
                                        && HttpUtil.getContentLength(request, 0L) == 0);
                        passing = !failed; // the decoder emits nothing after a failure
                        ending = !HttpUtil.isKeepAlive(request);
                    }
                    if (message instanceof HttpObject part
                            && part.decoderResult().isFailure()) {
                        ending = true;
                        linger = true;
                    }
                    if (message instanceof LastHttpContent) {
                        passing = false;
                        received = true;
                    }
                    context.fireChannelRead(message);
                }
            } finally {
                delivering = false;
            }
        }

        /** Rejects what RFC 9110 and 9112 forbid but the decoder and the framework accept. */
        private void requireValid(HttpRequest request) {
            if (request.decoderResult().isFailure()) {
                return;
            }
            String fault = Conformance.fault(request, secure);
            if (fault != null) {
                request.setDecoderResult(DecoderResult.failure(new IllegalArgumentException(fault)));
            }
        }

        private void idle() {
            idleSince = System.nanoTime();
            isIdle = true;
        }

        /** Continues with what waited for the last answer. */
        private void resume() {
            ChannelHandlerContext context = this.context;
            if (delivering || context == null) {
                return;
            }
            if (!decoded.isEmpty()) {
                deliver();
                context.fireChannelReadComplete();
            }
            if (mayTakeRequest() && decoded.isEmpty()) {
                bytes.resume();
            }
        }

        @Override
        public void channelWritabilityChanged(ChannelHandlerContext context) throws Exception {
            stalledSince = channel.isWritable() ? BUSY : now;
            super.channelWritabilityChanged(context);
            resume();
        }

        @Override
        public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) throws Exception {
            if (message instanceof HttpResponse response
                    && response.status().codeClass() == HttpStatusClass.INFORMATIONAL) {
                super.write(context, message, promise);
                return;
            }
            boolean close = false;
            if (message instanceof HttpResponse response) {
                if (draining || !received || !HttpUtil.isKeepAlive(response)) {
                    ending = true;
                }
                if (ending) {
                    response.headers().set(HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE);
                }
                response.setProtocolVersion(HttpVersion.HTTP_1_1); // RFC 9110, section 6.2
                if (!received) {
                    linger = true;
                }
                if (!response.headers().contains(HttpHeaderNames.DATE)) { // answers to decoder failures have none
                    response.headers().set(HttpHeaderNames.DATE, DateFormatter.format(Date.from(Instant.now())));
                }
            }
            if (message instanceof LastHttpContent) {
                answered = true;
                close = ending;
            }
            if (!close) {
                super.write(context, message, promise);
                if (answered) {
                    idle();
                    resume();
                }
                return;
            }
            super.write(context, message, promise.unvoid().addListener(sent -> end()));
        }

        @Override
        public void close(ChannelHandlerContext context, ChannelPromise promise) throws Exception {
            if (ending && answered && linger) {
                promise.setSuccess(); // end() closes it once the client has had time to read the answer
            } else {
                super.close(context, promise);
            }
        }

        private void closeNow() {
            linger = false;
            ChannelFuture unused = channel.close(); // a failure means that it is already closed
        }

        /**
         * Closes the connection after its last answer. If bytes are unread, discards them first:
         * closing at once would reset the connection and destroy the answer.
         */
        private void end() {
            if (!linger || !(channel instanceof SocketChannel socket) || secure) {
                closeNow();
                return;
            }
            bytes.discard(socket);
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) throws Exception {
            if (cause instanceof IOException || cause.getCause() instanceof SSLException) {
                LOG.debug("a connection failed", cause); // caused by the client
                closeNow();
            } else {
                super.exceptionCaught(context, cause);
            }
        }

        /** Feeds the decoder a few bytes at a time, and none while a request is in progress. */
        private final class Bytes extends ChannelDuplexHandler {

            private final Queue<ByteBuf> held = new ArrayDeque<>(4);
            private @Nullable ChannelHandlerContext context;
            private boolean wanted; // the server asked for more
            private boolean discarding;
            private int discarded;

            @Override
            public void handlerAdded(ChannelHandlerContext context) {
                this.context = context;
            }

            @Override
            public void handlerRemoved(ChannelHandlerContext context) {
                held.forEach(ReferenceCountUtil::release);
                held.clear();
            }

            @Override
            public void read(ChannelHandlerContext context) {
                wanted = true;
                if (held.isEmpty()) {
                    if (mayTakeRequest() && !(ending && received)) {
                        wanted = false;
                        context.read();
                    }
                } else if (mayTakeRequest()) {
                    channel.eventLoop().execute(this::resume); // not from here, where the decoder may be running
                }
            }

            @Override
            public void channelRead(ChannelHandlerContext context, Object message) {
                if (!(message instanceof ByteBuf buffer)) {
                    context.fireChannelRead(message);
                } else if (discarding || (ending && received)) {
                    discarded += buffer.readableBytes();
                    linger = true;
                    buffer.release();
                } else {
                    held.add(buffer);
                    feed(context);
                }
            }

            @Override
            public void channelReadComplete(ChannelHandlerContext context) {
                if (discarding) {
                    if (discarded > MOST_DISCARDED_BYTES) {
                        closeNow();
                    } else {
                        context.read();
                    }
                } else {
                    context.fireChannelReadComplete();
                }
            }

            private void feed(ChannelHandlerContext context) {
                while (!held.isEmpty() && mayTakeRequest() && decoded.isEmpty()) {
                    ByteBuf buffer = held.element();
                    if (ending && received) {
                        linger = true;
                        held.remove().release();
                        continue;
                    }
                    if (received && headSince == BUSY) {
                        headSince = now;
                    }
                    if (buffer.readableBytes() <= SLICE) {
                        context.fireChannelRead(held.remove());
                    } else {
                        context.fireChannelRead(buffer.readRetainedSlice(SLICE));
                    }
                }
            }

            void resume() {
                ChannelHandlerContext context = this.context;
                if (context == null || discarding) {
                    return;
                }
                if (!held.isEmpty()) {
                    feed(context);
                    context.fireChannelReadComplete();
                } else if (wanted && !(ending && received)) {
                    wanted = false;
                    context.read();
                }
            }

            /** Sends an answer outside of any request, and closes the connection. */
            void endWith(byte[] answer) {
                ChannelHandlerContext context = this.context;
                if (context != null) {
                    ChannelFuture unused = context.writeAndFlush(Unpooled.wrappedBuffer(answer))
                            .addListener(ChannelFutureListener.CLOSE);
                }
            }

            /**
             * Shuts down the output, then reads and discards what the client still sends, within
             * bounds of time and size.
             */
            void discard(SocketChannel socket) {
                ChannelHandlerContext context = this.context;
                if (context == null || discarding) {
                    return;
                }
                discarding = true;
                Future<?> unused = channel.eventLoop().schedule(() -> closeNow(), DISCARD_SECONDS, TimeUnit.SECONDS);
                ChannelFuture unusedEither = socket.shutdownOutput().addListener(done -> context.read());
            }
        }
    }
}
