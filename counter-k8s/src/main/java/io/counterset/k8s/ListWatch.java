// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import com.google.gson.reflect.TypeToken;
import com.google.gson.stream.MalformedJsonException;
import io.kubernetes.client.common.KubernetesListObject;
import io.kubernetes.client.common.KubernetesObject;
import io.kubernetes.client.informer.ListerWatcher;
import io.kubernetes.client.informer.cache.Cache;
import io.kubernetes.client.informer.impl.DefaultSharedIndexInformer;
import io.kubernetes.client.openapi.ApiClient;
import io.kubernetes.client.openapi.ApiException;
import io.kubernetes.client.openapi.JSON;
import io.kubernetes.client.openapi.apis.CustomObjectsApi;
import io.kubernetes.client.openapi.models.V1Status;
import io.kubernetes.client.util.CallGeneratorParams;
import io.kubernetes.client.util.Watch;
import io.kubernetes.client.util.Watchable;
import java.io.IOException;
import java.lang.reflect.Type;
import java.net.ConnectException;
import java.net.NoRouteToHostException;
import java.net.SocketTimeoutException;
import java.net.UnknownHostException;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Consumer;
import java.util.function.Supplier;
import javax.net.ssl.SSLException;
import okhttp3.Call;
import okhttp3.internal.http2.ErrorCode;
import okhttp3.internal.http2.StreamResetException;
import org.jspecify.annotations.Nullable;

/**
 * Lists objects of the Kubernetes API once, then watches them, and tracks whether the watch is
 * connected. A plain informer keeps its objects when the server is gone and does not report the
 * outage. Thread-safe.
 *
 * <p>How the informer is used here, and why:
 *
 * <ul>
 *   <li>Lists are requested without a resource version. A server that was restored from a backup
 *       rejects every request that has a newer one.
 *   <li>The watch is wrapped. It counts as connected from its first answer until it ends for any
 *       reason.
 *   <li>Retries back off exponentially with jitter, up to 5 s apart, and honour
 *       {@code Retry-After}. The informer alone would retry every second, and all replicas in step
 *       would burden a struggling server. While the server rejects the token or its permissions,
 *       every retry waits 5 s. The 5 s are counted from the start of one attempt to the start of
 *       the next, so that an attempt that takes seconds to fail does not delay the next one.
 * </ul>
 */
final class ListWatch<T extends KubernetesObject, L extends KubernetesListObject>
        implements ListerWatcher<T, L>, AutoCloseable {

    /**
     * A watch ends every few minutes and is renewed at once. Its objects are not stale in between.
     */
    private static final Duration RENEWAL = Duration.ofSeconds(2);

    /** A watch that ends sooner than this counts as a failure. */
    private static final Duration WORTHWHILE = Duration.ofSeconds(5);

    private static final Duration FIRST_PAUSE = Duration.ofMillis(500);

    /**
     * The longest time from the start of one attempt to the start of the next, which bounds how
     * long a server that is back goes unnoticed.
     */
    static final Duration LONGEST_PAUSE = Duration.ofSeconds(5);

    private static final Duration LONGEST_RETRY_AFTER = Duration.ofMinutes(1);

    private final ApiClient client;
    private final Supplier<CustomObjectsApi.APIlistNamespacedCustomObjectRequest> request;
    private final Type listType;
    private final Type eventType;
    private final Consumer<T> seen;
    private final Runnable changed;
    private final InstantSource clock;
    private final Duration longestPause;
    private final DefaultSharedIndexInformer<T, L> informer;

    private final Cache<T> objects = new Cache<>();

    private boolean connected;
    private boolean closed;
    private boolean refused;
    private Instant connectedAt = Instant.MIN;
    private @Nullable Instant lostAt;
    private @Nullable String failure;
    private int failures;
    private Duration retryAfter = Duration.ZERO;

    /** When the last attempt began, by {@link System#nanoTime}. */
    private long begunAt = System.nanoTime();

    /**
     * @param request creates a request for the objects, including its label or field selectors
     * @param seen called with every listed or changed object before the object is visible in
     *     {@link #objects()}
     * @param changed called when the watch was connected or disconnected
     * @param longestPause the longest backoff between retries
     */
    ListWatch(
            Class<T> type,
            Class<L> listType,
            ApiClient client,
            Supplier<CustomObjectsApi.APIlistNamespacedCustomObjectRequest> request,
            Consumer<T> seen,
            Runnable changed,
            InstantSource clock,
            Duration longestPause) {
        this.client = client;
        this.request = request;
        this.listType = listType;
        this.eventType = TypeToken.getParameterized(Watch.Response.class, type).getType();
        this.seen = seen;
        this.changed = changed;
        this.clock = clock;
        this.longestPause = longestPause;
        // The informer need not log failures: all of them have been recorded here.
        this.informer = new DefaultSharedIndexInformer<>(type, this, 0L, objects, (c, failure) -> {});
    }

    /** Starts in the background. */
    void start() {
        informer.run();
    }

    @Override
    public void close() {
        synchronized (this) {
            closed = true;
        }
        informer.stop();
    }

    /** Returns whether a list has ever been received. */
    boolean hasSynced() {
        return informer.hasSynced();
    }

    /** Returns the last known objects. */
    List<T> objects() {
        return objects.list();
    }

    synchronized boolean isConnected() {
        return connected;
    }

    /** Returns whether the server's last answer rejected the token or its permissions. */
    synchronized boolean isRefused() {
        return refused;
    }

    /**
     * Returns why the watch is disconnected; null while it is connected, or if it ended normally.
     */
    synchronized @Nullable String failure() {
        return failure;
    }

    /** Returns the time since which the objects may be stale; null if they are current. */
    synchronized @Nullable Instant staleSince(Instant now) {
        if (connected || lostAt == null) {
            return null;
        }
        return failure == null && lostAt.plus(RENEWAL).isAfter(now) ? null : lostAt;
    }

    // Called by the informer

    @Override
    @SuppressWarnings("unchecked") // the items have the type that was requested
    public L list(CallGeneratorParams params) throws ApiException {
        pause();
        try {
            L list = client.<L>execute(request.get().buildCall(null), listType).getData();
            list.getItems().forEach(item -> seen.accept((T) item));
            synchronized (this) {
                // The watch starts at once, or a server that is back would go unnoticed for two pauses.
                refused = false;
                begunAt = System.nanoTime() - longestPause.toNanos();
                lostAt = clock.instant(); // the list becomes stale from now on unless a watch follows
            }
            return list;
        } catch (ApiException | RuntimeException | LinkageError e) {
            onDisconnected(e);
            throw e;
        }
    }

    @Override
    public Watchable<T> watch(CallGeneratorParams params) throws ApiException {
        pause();
        try {
            Call call = request.get()
                    .watch(true)
                    .allowWatchBookmarks(true)
                    .resourceVersion(params.resourceVersion)
                    .timeoutSeconds(params.timeoutSeconds)
                    .buildCall(null);
            Watchable<T> watch = Watch.createWatch(client, call, eventType);
            onConnected();
            return new TrackedWatch(watch);
        } catch (ApiException | RuntimeException | LinkageError e) {
            onDisconnected(e);
            throw e;
        }
    }

    private void pause() throws ApiException {
        long millis;
        synchronized (this) {
            Duration longest =
                    failures < 2 ? Duration.ZERO : FIRST_PAUSE.multipliedBy(1L << Math.min(failures - 2, 10));
            longest = longest.compareTo(longestPause) > 0 ? longestPause : longest;
            millis = (long) (longest.toMillis() * ThreadLocalRandom.current().nextDouble(0.5, 1));
            if (refused) {
                millis = longestPause.toMillis();
            }
            millis -= Duration.ofNanos(System.nanoTime() - begunAt).toMillis();
            millis = Math.max(0, Math.max(millis, retryAfter.toMillis()));
            retryAfter = Duration.ZERO;
        }
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ApiException("stopped");
        }
        synchronized (this) {
            begunAt = System.nanoTime();
        }
    }

    private void onConnected() {
        synchronized (this) {
            connected = true;
            refused = false;
            connectedAt = clock.instant();
            lostAt = null;
            failure = null;
        }
        changed.run();
    }

    private void onDisconnected(@Nullable Throwable reason) {
        synchronized (this) {
            if (closed) {
                return;
            }
            Instant now = clock.instant();
            boolean worthwhile = connected && connectedAt.plus(WORTHWHILE).isBefore(now);
            failures = worthwhile && reason == null ? 0 : worthwhile ? 1 : failures + 1;
            connected = false;
            lostAt = lostAt == null ? now : lostAt;
            if (reason != null) {
                failure = describe(reason);
                int code = reason instanceof ApiException e ? e.getCode() : 0;
                refused = code == 401 || code == 403;
                retryAfter = retryAfter(reason);
            }
        }
        changed.run();
    }

    private static String describe(Throwable reason) {
        for (Throwable cause = reason; cause != null; cause = cause.getCause()) {
            if (cause instanceof ApiException e && e.getCode() != 0) {
                return "the API server answered " + e.getCode() + message(e.getResponseBody());
            } else if (cause instanceof IOException broken && !(cause instanceof MalformedJsonException)) {
                return "the API server is unreachable: " + describe(broken);
            } else if (cause instanceof LinkageError e) {
                return unusable(e);
            }
        }
        // The client throws plain RuntimeExceptions of its own, such as when it cannot read the
        // token.
        return (reason.getClass() == RuntimeException.class
                        ? "cannot ask the API server: "
                        : "the API server's answer is invalid: ")
                + PeerClient.printable(String.valueOf(reason.getMessage()));
    }

    /**
     * Returns the reason to report if the client needs a class that is missing or that comes from
     * another version of a library.
     */
    static String unusable(LinkageError e) {
        return "the Kubernetes client does not work with the libraries on the class path: "
                + (e instanceof NoClassDefFoundError ? "no class " : "")
                + PeerClient.printable(String.valueOf(e.getMessage()));
    }

    private static String describe(IOException broken) {
        if (broken instanceof StreamResetException reset && reset.errorCode == ErrorCode.PROTOCOL_ERROR) {
            return "it does not answer, so the connection was closed"; // how the client reports an unanswered ping
        } else if (broken instanceof UnknownHostException) {
            return "its name does not resolve";
        } else if (broken instanceof NoRouteToHostException) {
            return "no route to its address";
        } else if (broken instanceof SocketTimeoutException timeout) {
            return String.valueOf(timeout.getMessage()).contains("connect")
                    ? "no answer to the attempt to connect"
                    : "no answer in time";
        } else if (broken instanceof ConnectException) {
            return "connection refused";
        } else if (broken instanceof SSLException) {
            return "TLS failed: " + PeerClient.printable(String.valueOf(broken.getMessage()));
        }
        return "the connection broke";
    }

    private static String message(@Nullable String body) {
        try {
            V1Status status = body == null ? null : JSON.deserialize(body, V1Status.class);
            return status == null || status.getMessage() == null
                    ? ""
                    : ": " + PeerClient.printable(status.getMessage());
        } catch (RuntimeException e) {
            return "";
        }
    }

    private static Duration retryAfter(Throwable reason) {
        if (reason instanceof ApiException e && e.getResponseHeaders() != null) {
            for (var header : e.getResponseHeaders().entrySet()) {
                if ("retry-after".equalsIgnoreCase(header.getKey())
                        && !header.getValue().isEmpty()
                        && header.getValue().get(0).matches("[0-9]{1,6}")) {
                    Duration wish =
                            Duration.ofSeconds(Long.parseLong(header.getValue().get(0)));
                    return wish.compareTo(LONGEST_RETRY_AFTER) > 0 ? LONGEST_RETRY_AFTER : wish;
                }
            }
        }
        return Duration.ZERO;
    }

    /** A watch that reports its end. The informer closes every watch that it opens. */
    private final class TrackedWatch implements Watchable<T> {

        private final Watchable<T> watch;
        private boolean over;

        TrackedWatch(Watchable<T> watch) {
            this.watch = watch;
        }

        @Override
        public boolean hasNext() {
            try {
                return watch.hasNext();
            } catch (RuntimeException | LinkageError e) {
                end(e);
                throw e;
            }
        }

        @Override
        public Watch.Response<T> next() {
            try {
                Watch.Response<T> event = watch.next();
                if ("ERROR".equals(event.type)) {
                    String said = event.status == null ? null : JSON.serialize(event.status);
                    int code = event.status == null || event.status.getCode() == null ? 0 : event.status.getCode();
                    end(new ApiException(code == 0 ? 500 : code, Map.of(), said));
                } else if (event.object == null) {
                    throw new IllegalStateException("an event without an object");
                } else if (!"BOOKMARK".equals(event.type)) {
                    seen.accept(event.object);
                }
                return event;
            } catch (RuntimeException | LinkageError e) {
                end(e);
                throw e;
            }
        }

        @Override
        public Iterator<Watch.Response<T>> iterator() {
            return this;
        }

        @Override
        public void close() throws IOException {
            end(null);
            watch.close();
        }

        private void end(@Nullable Throwable reason) {
            synchronized (ListWatch.this) {
                if (over) {
                    return;
                }
                over = true;
            }
            onDisconnected(reason);
        }
    }
}
