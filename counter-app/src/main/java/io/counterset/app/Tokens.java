// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.counterset.k8s.MountedFiles;
import io.counterset.k8s.Settings;
import io.micronaut.http.HttpHeaders;
import io.micronaut.http.HttpRequest;
import jakarta.inject.Singleton;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.List;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Checks the tokens that clients present. A kind of token that is not configured protects nothing.
 * Thread-safe; does not block.
 */
@Singleton
final class Tokens {

    static final String WRITE = "counter.tokens.write";
    static final String READ = "counter.tokens.read";
    static final String PEERS = "counter.tokens.peers";

    private static final String BEARER = "bearer ";
    private static final String BASIC = "basic ";

    private final @Nullable Supplier<List<byte[]>> write;
    private final @Nullable Supplier<List<byte[]>> read;
    private final @Nullable Supplier<List<byte[]>> peers;

    /** The result of checking a request. */
    enum Verdict {
        /** It is allowed. */
        ALLOWED,
        /** It has no token, or an unknown one. */
        UNKNOWN,
        /** Its token does not allow this request. */
        INSUFFICIENT
    }

    /**
     * @throws IllegalArgumentException if a file cannot be used, or if only some of the files that
     *     belong together are set
     */
    Tokens(Settings settings, MountedFiles files) {
        write = files.tokens(WRITE).orElse(null);
        read = files.tokens(READ).orElse(null);
        peers = files.tokens(PEERS).orElse(null);
        if (read != null && write == null) {
            throw Settings.invalid(WRITE, "", "a file of tokens, since " + READ + " is set: an add returns the count");
        }
        if (read != null && peers == null) {
            throw Settings.invalid(PEERS, "", "a file of tokens, since " + READ + " is set: peers read counts, too");
        }
    }

    /** Returns whether the request's token grants the permission. */
    Verdict check(HttpRequest<?> request, Right right) {
        if (isOpen(right)) {
            return Verdict.ALLOWED;
        }
        byte[] token = presented(request);
        if (token == null) {
            return Verdict.UNKNOWN;
        }
        // Always compares with all tokens, so that the time taken reveals nothing.
        boolean isWrite = isAmong(write, token);
        boolean isRead = isAmong(read, token);
        boolean isPeers = isAmong(peers, token);
        boolean opens = switch (right) {
            case NOTHING -> true;
            case COUNT -> isWrite || isRead || isPeers;
            case READ -> isWrite || isRead;
            case WRITE -> isWrite;
            case PEERS -> isPeers;
        };
        if (opens) {
            return Verdict.ALLOWED;
        }
        return isWrite || isRead || isPeers ? Verdict.INSUFFICIENT : Verdict.UNKNOWN;
    }

    /** Returns whether the request has a token of peers. */
    boolean isPeer(HttpRequest<?> request) {
        byte[] token = peers == null ? null : presented(request);
        return token != null && isAmong(peers, token);
    }

    private boolean isOpen(Right right) {
        return switch (right) {
            case NOTHING -> true;
            case COUNT, READ -> read == null;
            case WRITE -> write == null;
            case PEERS -> peers == null;
        };
    }

    private static boolean isAmong(@Nullable Supplier<List<byte[]>> tokens, byte[] presented) {
        boolean found = false;
        if (tokens != null) {
            for (byte[] token : tokens.get()) {
                found |= MessageDigest.isEqual(presented, token);
            }
        }
        return found;
    }

    /**
     * Returns the token of a request: a bearer token, or the password that a browser sends; null if
     * there is none.
     */
    private static byte @Nullable [] presented(HttpRequest<?> request) {
        List<String> headers = request.getHeaders().getAll(HttpHeaders.AUTHORIZATION);
        if (headers.size() != 1) {
            return null;
        }
        String header = headers.get(0);
        if (header.regionMatches(true, 0, BEARER, 0, BEARER.length())) {
            return header.substring(BEARER.length()).strip().getBytes(StandardCharsets.UTF_8);
        } else if (header.regionMatches(true, 0, BASIC, 0, BASIC.length())) {
            try {
                String pair = new String(
                        Base64.getDecoder()
                                .decode(header.substring(BASIC.length()).strip()),
                        StandardCharsets.UTF_8);
                return pair.substring(pair.indexOf(':') + 1).getBytes(StandardCharsets.UTF_8);
            } catch (IllegalArgumentException e) {
                return null;
            }
        }
        return null;
    }
}
