// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import io.netty.bootstrap.Bootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.ConnectTimeoutException;
import io.netty.channel.EventLoop;
import io.netty.channel.MultiThreadIoEventLoopGroup;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.nio.NioIoHandler;
import io.netty.channel.socket.nio.NioSocketChannel;
import io.netty.handler.codec.TooLongFrameException;
import io.netty.handler.codec.http.DefaultFullHttpRequest;
import io.netty.handler.codec.http.HttpClientCodec;
import io.netty.handler.codec.http.HttpContent;
import io.netty.handler.codec.http.HttpDecoderConfig;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpObject;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.handler.ssl.SslHandler;
import io.netty.util.concurrent.DefaultThreadFactory;
import io.netty.util.concurrent.Future;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.ConnectException;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * Sends {@code GET} requests to peers over keep-alive connections, all on one thread. Thread-safe;
 * never blocks its caller.
 *
 * <p>A connection is reused only after a clean exchange: one response with status 200 and
 * keep-alive, with nothing after it. It is closed after anything else: another status, an interim
 * response, malformed or oversized headers or body, unsolicited bytes, or a cancelled request. A
 * peer can therefore use at most one connection per request in flight plus {@link #MOST_IDLE} idle
 * ones, and per request at most the largest body allowed plus {@link #MOST_FRAMING_BYTES} bytes.
 */
final class PeerConnections implements AutoCloseable {

    /**
     * The largest body of a count. A counter's name has up to 128 characters and an instance's up
     * to 253, and each character takes up to six bytes when escaped.
     */
    static final int MOST_BYTES = 8_192;

    /** The largest status line including all headers, and the largest trailers. */
    static final int MOST_HEADER_BYTES = 8_192;

    /**
     * How much larger than its body a response may be on the wire: headers, trailers and the
     * framing of chunks.
     */
    static final int MOST_FRAMING_BYTES = 3 * MOST_BYTES;

    /** The maximum number of idle connections kept per address. */
    static final int MOST_IDLE = 2;

    /** A connection that was idle for longer than this is closed. */
    private static final Duration MOST_IDLE_TIME = Duration.ofMinutes(2);

    private static final Duration SWEEP = Duration.ofSeconds(10);

    private final MultiThreadIoEventLoopGroup threads = new MultiThreadIoEventLoopGroup(
            1, new DefaultThreadFactory("counterset-peers-http", true), NioIoHandler.newFactory());
    private final EventLoop loop = (EventLoop) threads.next();
    private final int connectMillis;
    private final PeerAccess access;

    /**
     * The idle connections by address, the most recently used first. Used only by the loop's
     * thread.
     */
    private final Map<InetSocketAddress, Deque<Connection>> idle = new HashMap<>();

    private boolean sweeping;

    /** @param connectTimeout how long establishing a connection may take */
    PeerConnections(Duration connectTimeout, PeerAccess access) {
        this.access = access;
        this.connectMillis = (int) connectTimeout.toMillis();
    }

    /** Why a peer's answer is not used, in words for the report. The connection is closed. */
    static final class Refused extends IOException {
        private static final long serialVersionUID = 1;

        Refused(String reason) {
            super(reason);
        }

        @Override
        public String getMessage() {
            return String.valueOf(super.getMessage());
        }
    }

    /**
     * Returns the body of a response with status 200. Fails only with {@link Refused}. If the
     * caller completes the returned future first, the request is cancelled and its connection
     * closed.
     *
     * @param address the resolved address
     * @param host the value of the header {@code Host}
     * @param path the encoded path
     * @param mostBytes the largest body
     */
    CompletableFuture<byte[]> get(InetSocketAddress address, String host, String path, int mostBytes) {
        CompletableFuture<byte[]> body = new CompletableFuture<>();
        Exchange exchange = new Exchange(address, host, path, mostBytes, body);
        execute(exchange, () -> begin(exchange));
        CompletableFuture<?> unused = body.whenComplete((bytes, failure) -> {
            if (!exchange.over) {
                execute(exchange, exchange::withdraw);
            }
        });
        return body;
    }

    /** Closes all connections in the background. A request in flight fails. */
    @Override
    public void close() {
        Future<?> unused = threads.shutdownGracefully(0, 1, TimeUnit.SECONDS);
    }

    private void execute(Exchange exchange, Runnable task) {
        try {
            loop.execute(task);
        } catch (RejectedExecutionException e) {
            exchange.over = true;
            exchange.body.completeExceptionally(new Refused("not asked: this replica is stopping"));
        }
    }

    // On the loop's thread

    /** One request and its response. */
    private static final class Exchange {

        final InetSocketAddress address;
        final String host;
        final String path;
        final int mostBytes;
        final CompletableFuture<byte[]> body;
        final ByteArrayOutputStream bytes = new ByteArrayOutputStream(256);

        @Nullable
        Connection connection;

        boolean reused;
        boolean answered;
        boolean keepAlive;
        int wireBytes;
        volatile boolean over;

        Exchange(InetSocketAddress address, String host, String path, int mostBytes, CompletableFuture<byte[]> body) {
            this.address = address;
            this.host = host;
            this.path = path;
            this.mostBytes = mostBytes;
            this.body = body;
        }

        void withdraw() {
            if (!over && connection != null) {
                connection.end();
            }
            over = true;
        }
    }

    private void begin(Exchange exchange) {
        if (exchange.body.isDone()) {
            return;
        }
        if (!sweeping) {
            sweeping = true;
            Future<?> unused =
                    loop.scheduleWithFixedDelay(this::sweep, SWEEP.toNanos(), SWEEP.toNanos(), TimeUnit.NANOSECONDS);
        }
        Deque<Connection> free = idle.get(exchange.address);
        Connection kept = free == null ? null : free.poll();
        if (kept == null) {
            connect(exchange);
        } else {
            exchange.reused = true;
            kept.send(exchange);
        }
    }

    private void connect(Exchange exchange) {
        Connection connection = new Connection(exchange.address);
        ChannelFuture connecting = new Bootstrap()
                .group(loop)
                .channel(NioSocketChannel.class)
                .option(ChannelOption.TCP_NODELAY, true)
                .option(ChannelOption.CONNECT_TIMEOUT_MILLIS, connectMillis)
                .handler(new ChannelInitializer<Channel>() {
                    @Override
                    protected void initChannel(Channel channel) {
                        HttpDecoderConfig bounds = new HttpDecoderConfig()
                                .setMaxInitialLineLength(MOST_HEADER_BYTES)
                                .setMaxHeaderSize(MOST_HEADER_BYTES)
                                .setMaxChunkSize(MOST_BYTES);
                        SslHandler tls =
                                access.handler(channel.alloc(), host(exchange.host), exchange.address.getPort());
                        if (tls != null) {
                            tls.setHandshakeTimeoutMillis(connectMillis);
                            channel.pipeline().addLast(tls);
                        }
                        channel.pipeline()
                                .addLast(connection.meter, new HttpClientCodec(bounds, false, false), connection);
                    }
                })
                .connect(exchange.address);
        connection.channel = connecting.channel();
        connection.exchange = exchange;
        exchange.connection = connection;
        connecting.addListener(done -> {
            if (connection.exchange != exchange) {
                connection.end(); // cancelled meanwhile
            } else if (done.isSuccess()) {
                connection.secure(exchange);
            } else {
                connection.fail(notConnected(done.cause()));
            }
        });
    }

    /** Returns the host of {@code host:port} or {@code [ipv6]:port}. */
    private static String host(String address) {
        String host = address.substring(0, address.lastIndexOf(':'));
        return host.startsWith("[") ? host.substring(1, host.length() - 1) : host;
    }

    private static String notConnected(Throwable cause) {
        if (cause instanceof ConnectTimeoutException) {
            return "no answer to the attempt to connect";
        }
        return cause instanceof ConnectException ? "connection refused" : "no route to its address";
    }

    private void sweep() {
        long now = System.nanoTime();
        List<Connection> old = new ArrayList<>();
        idle.values()
                .forEach(free -> free.stream()
                        .filter(connection -> now - connection.idleSince > MOST_IDLE_TIME.toNanos())
                        .forEach(old::add));
        old.forEach(Connection::end);
        idle.values().removeIf(Deque::isEmpty);
    }

    private final class Connection extends SimpleChannelInboundHandler<HttpObject> {

        final InetSocketAddress address;
        final Meter meter = new Meter(this);

        @Nullable
        Channel channel;

        @Nullable
        Exchange exchange;

        long idleSince;

        Connection(InetSocketAddress address) {
            this.address = address;
        }

        /** Sends the request, after the TLS handshake if there is one. */
        void secure(Exchange next) {
            SslHandler tls = channel == null ? null : channel.pipeline().get(SslHandler.class);
            if (tls == null) {
                send(next);
                return;
            }
            Future<Channel> unused = tls.handshakeFuture().addListener(done -> {
                if (exchange != next) {
                    end(); // cancelled meanwhile
                } else if (done.isSuccess()) {
                    send(next);
                } else {
                    fail(PeerAccess.reason(done.cause()));
                }
            });
        }

        void send(Exchange next) {
            exchange = next;
            next.connection = this;
            HttpRequest request =
                    new DefaultFullHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.GET, next.path, Unpooled.EMPTY_BUFFER);
            request.headers().set(HttpHeaderNames.HOST, next.host).set(HttpHeaderNames.ACCEPT, "application/json");
            String authorization = access.authorization();
            if (authorization != null) {
                request.headers().set(HttpHeaderNames.AUTHORIZATION, authorization);
            }
            if (channel != null) {
                ChannelFuture unused = channel.writeAndFlush(request).addListener(done -> {
                    if (!done.isSuccess()) {
                        broken(next);
                    }
                });
            }
        }

        @Override
        protected void channelRead0(ChannelHandlerContext context, HttpObject message) {
            Exchange current = exchange;
            if (current == null) {
                end();
                return;
            }
            if (message.decoderResult().isFailure()) {
                fail(
                        message.decoderResult().cause() instanceof TooLongFrameException
                                ? "answered with headers of more than " + MOST_HEADER_BYTES + " bytes"
                                : "answered something that is not HTTP");
                return;
            }
            if (message instanceof HttpResponse response) {
                HttpVersion version = response.protocolVersion();
                if (!version.protocolName().equals("HTTP") || version.majorVersion() != 1) {
                    fail("answered something that is not HTTP/1");
                    return;
                } else if (response.status().code() != 200) {
                    fail("answered HTTP " + response.status().code());
                    return;
                }
                current.keepAlive = HttpUtil.isKeepAlive(response);
            }
            if (message instanceof HttpContent content) {
                if (current.bytes.size() + content.content().readableBytes() > current.mostBytes) {
                    fail("answered with more than " + current.mostBytes + " bytes");
                    return;
                }
                current.bytes.writeBytes(ByteBufUtil.getBytes(content.content()));
            }
            if (message instanceof LastHttpContent) {
                succeed(current);
            }
        }

        private void succeed(Exchange current) {
            exchange = null;
            current.over = true;
            Deque<Connection> free = idle.computeIfAbsent(address, key -> new ArrayDeque<>(1));
            if (current.keepAlive && free.size() < MOST_IDLE) {
                idleSince = System.nanoTime();
                free.push(this);
            } else {
                end();
            }
            current.body.complete(current.bytes.toByteArray());
        }

        @Override
        public void channelInactive(ChannelHandlerContext context) {
            Exchange current = exchange;
            if (current == null) {
                end();
            } else {
                broken(current);
            }
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
            channelInactive(context);
        }

        /**
         * A peer may close an idle connection just as it is reused. The request is then repeated
         * once.
         */
        private void broken(Exchange current) {
            if (exchange != current) {
                return;
            } else if (current.reused && !current.answered) {
                end();
                current.reused = false;
                current.wireBytes = 0;
                connect(current);
            } else {
                fail(
                        current.answered
                                ? "closed the connection in the middle of its answer"
                                : "closed the connection without an answer");
            }
        }

        void fail(String reason) {
            Exchange current = exchange;
            end();
            if (current != null) {
                current.over = true;
                current.body.completeExceptionally(new Refused(reason));
            }
        }

        void end() {
            exchange = null;
            Deque<Connection> free = idle.get(address);
            if (free != null) {
                free.remove(this);
            }
            if (channel != null) {
                ChannelFuture unused = channel.close();
            }
        }
    }

    /**
     * Counts the bytes of a response before they are decoded, because a decoder may skip any number
     * of them.
     */
    private static final class Meter extends ChannelInboundHandlerAdapter {

        private final Connection connection;

        Meter(Connection connection) {
            this.connection = connection;
        }

        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            ByteBuf bytes = (ByteBuf) message;
            Exchange current = connection.exchange;
            if (current != null) {
                current.answered = true;
                current.wireBytes += bytes.readableBytes();
            }
            int most = current == null ? 0 : current.mostBytes + MOST_FRAMING_BYTES;
            if (current != null && current.wireBytes <= most) {
                context.fireChannelRead(bytes);
                return;
            }
            bytes.release();
            connection.fail("answered with more than " + most + " bytes");
        }
    }
}
