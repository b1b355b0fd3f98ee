// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.http.HttpRequest;
import io.netty.util.NetUtil;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.function.LongSupplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Limits the requests per second from each client address. Addresses are hashed to a fixed number
 * of slots, each of which holds one time, so memory is 512 KiB for any number of addresses and
 * nothing is ever evicted. Two clients share a slot, and so a limit, with a probability of 1 in
 * 65,536. Thread-safe; does not block.
 */
final class RateLimit {

    private static final int SLOTS = 1 << 16;
    private static final Pattern FOR = Pattern.compile("(?i)(?:^|;)\\s*for=\"?\\[?([0-9a-f.:]+)");

    /** The source of a client's address. */
    enum Source {
        /** The remote address of the connection. */
        SOCKET(null),
        /** The address that the nearest proxy added to the header {@code Forwarded} (RFC 7239). */
        FORWARDED("Forwarded"),
        /** The address that the nearest proxy added to the header {@code X-Forwarded-For}. */
        X_FORWARDED_FOR("X-Forwarded-For");

        private final @Nullable String header;

        Source(@Nullable String header) {
            this.header = header;
        }
    }

    private final CounterSettings.Rate rate;
    private final LongSupplier nanoTime;
    private final long started;
    private final long interval;
    private final long tolerance;

    /**
     * For each slot, the time at which its next request would be due if requests came exactly one
     * {@link #interval} apart.
     */
    private final AtomicLongArray due = new AtomicLongArray(SLOTS);

    /** Prevents clients from predicting which addresses share a slot. */
    private final long seed = ThreadLocalRandom.current().nextLong();

    RateLimit(CounterSettings.Rate rate, LongSupplier nanoTime) {
        this.rate = rate;
        this.nanoTime = nanoTime;
        this.started = nanoTime.getAsLong();
        this.interval = 1_000_000_000L / rate.limit();
        this.tolerance = interval * (rate.burst() - 1);
    }

    /** Returns whether this request is within the client's limit. */
    boolean admits(HttpRequest<?> request) {
        int slot = slot(address(request));
        long now = nanoTime.getAsLong() - started;
        while (true) {
            long next = due.get(slot);
            if (next - now > tolerance) {
                return false;
            }
            if (due.compareAndSet(slot, next, Math.max(next, now) + interval)) {
                return true;
            }
        }
    }

    /**
     * Hashes an IPv4 address, or the first 64 bits of an IPv6 address, the network that a client is
     * given.
     */
    private int slot(byte[] address) {
        long key = 0;
        for (int i = 0; i < Math.min(address.length, 8); i++) {
            key = key << 8 | (address[i] & 0xff);
        }
        key ^= seed;
        // The last step of MurmurHash3.
        key = (key ^ key >>> 33) * 0xff51afd7ed558ccdL;
        key = (key ^ key >>> 33) * 0xc4ceb9fe1a85ec53L;
        return (int) (key >>> 48);
    }

    private byte[] address(HttpRequest<?> request) {
        String header = rate.source().header;
        byte[] told =
                header == null ? null : last(request.getHeaders().getAll(header), rate.source() == Source.FORWARDED);
        if (told != null) {
            return told;
        }
        InetSocketAddress remote = request.getRemoteAddress();
        InetAddress address = remote.getAddress();
        return address == null ? new byte[0] : address.getAddress();
    }

    /**
     * Returns the last address, which the nearest proxy added; a client may have forged the earlier
     * ones.
     */
    static byte @Nullable [] last(List<String> headers, boolean forwarded) {
        if (headers.isEmpty()) {
            return null;
        }
        String header = headers.get(headers.size() - 1);
        String element = header.substring(header.lastIndexOf(',') + 1).strip();
        if (forwarded) {
            Matcher found = FOR.matcher(element);
            element = found.find() ? found.group(1) : "";
        }
        if (element.startsWith("[") && element.contains("]")) {
            element = element.substring(1, element.indexOf(']'));
        } else if (element.indexOf(':') == element.lastIndexOf(':') && element.indexOf(':') >= 0) {
            element = element.substring(0, element.indexOf(':')); // IPv4 with a port
        }
        return NetUtil.createByteArrayFromIpAddressString(element);
    }
}
