// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.http.HttpRequest;
import io.netty.util.NetUtil;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Identifies clients by their addresses: an IPv4 address, or the first 64 bits of an IPv6 address,
 * which are the network that a client is given. Thread-safe; does not block.
 */
final class ClientAddress {

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

    private final Source source;

    /** Prevents clients from predicting which addresses have similar hashes. */
    private final long seed = ThreadLocalRandom.current().nextLong();

    ClientAddress(Source source) {
        this.source = source;
    }

    /**
     * Returns a hash of the address of the client that sent the request. Hashes are evenly spread,
     * and differ after the next start.
     */
    long of(HttpRequest<?> request) {
        byte[] address = address(request);
        long key = 0;
        for (int i = 0; i < Math.min(address.length, 8); i++) {
            key = key << 8 | (address[i] & 0xff);
        }
        key ^= seed;
        // The last step of MurmurHash3.
        key = (key ^ key >>> 33) * 0xff51afd7ed558ccdL;
        key = (key ^ key >>> 33) * 0xc4ceb9fe1a85ec53L;
        return key;
    }

    private byte[] address(HttpRequest<?> request) {
        String header = source.header;
        byte[] told = header == null ? null : last(request.getHeaders().getAll(header), source == Source.FORWARDED);
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
