// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import com.fasterxml.jackson.annotation.JsonValue;
import io.counterset.CounterStoreException;
import io.counterset.CounterStoreException.KeyConflictException;
import io.counterset.CounterStoreException.Outcome;
import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.StoreBusyException;
import io.counterset.CounterStoreException.StoreClosedException;
import io.counterset.CounterStoreException.StoreFailedException;
import io.counterset.CounterStoreException.StoreFullException;
import io.counterset.CounterStoreException.TooManyCountersException;
import io.counterset.CounterStoreException.TotalLimitException;
import io.micronaut.http.HttpHeaders;
import io.micronaut.http.HttpResponse;
import io.micronaut.http.HttpStatus;
import io.micronaut.http.MediaType;
import io.micronaut.http.MutableHttpResponse;
import io.micronaut.serde.annotation.Serdeable;
import io.swagger.v3.oas.annotations.headers.Header;
import io.swagger.v3.oas.annotations.media.Content;
import io.swagger.v3.oas.annotations.media.Schema;
import io.swagger.v3.oas.annotations.responses.ApiResponse;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Why a request failed, in the form of RFC 9457.
 *
 * @param type identifies the kind of problem, for programs; see {@link Type}
 * @param title describes the kind of problem; always the same for a type
 * @param status the HTTP status
 * @param detail what was wrong with this request, for people
 * @param increment the outcome of the requested increment; {@code not-applied} if the request was
 *     for none
 */
@Serdeable
record Problem(
        Type type, String title, int status, @Nullable String detail, Increment increment) {

    /** The outcome of the increment that a failed request was for. */
    @Serdeable
    enum Increment {
        /** It was not counted, and will not be. */
        NOT_APPLIED("not-applied"),
        /** It may or may not have been counted. Only an idempotency key makes a retry safe. */
        UNKNOWN("unknown");

        private final String word;

        Increment(String word) {
            this.word = word;
        }

        @Override
        @JsonValue
        public String toString() {
            return word;
        }
    }

    /**
     * The kinds of problem. Their names are part of the API and are never changed or given another
     * meaning.
     */
    @Serdeable
    enum Type {
        BAD_REQUEST("bad-request", 400, "Bad request"),
        BAD_AMOUNT("bad-amount", 400, "Invalid amount"),
        BAD_COUNTER_NAME("bad-counter-name", 400, "Invalid counter name"),
        BAD_IDEMPOTENCY_KEY("bad-idempotency-key", 400, "Invalid idempotency key"),
        BAD_PAGE("bad-page", 400, "Invalid page"),
        TOKEN_REQUIRED("token-required", 401, "A token is required"),
        TOKEN_INSUFFICIENT("token-insufficient", 403, "The token does not allow this"),
        CROSS_ORIGIN("cross-origin", 403, "Cross-origin request refused"),
        COUNTER_NOT_LISTED("counter-not-listed", 403, "Clients may not create this counter"),
        NOT_FOUND("not-found", 404, "Not found"),
        UNKNOWN_COUNTER("unknown-counter", 404, "This replica has no such counter"),
        METHOD_NOT_ALLOWED("method-not-allowed", 405, "Method not allowed"),
        NOT_ACCEPTABLE("not-acceptable", 406, "Not acceptable"),
        REQUEST_TIMEOUT("request-timeout", 408, "The request took too long to arrive"),
        OVERFLOW("overflow", 409, "The count would exceed its maximum"),
        PRECONDITION_FAILED("precondition-failed", 412, "The condition of the request is false"),
        TOO_LARGE("too-large", 413, "The request is too large"),
        URI_TOO_LONG("uri-too-long", 414, "The request line is too long"),
        BODY_NOT_TAKEN("body-not-taken", 415, "This request takes no body"),
        MISDIRECTED("misdirected", 421, "The request is for another replica"),
        KEY_REUSED("idempotency-key-reused", 422, "The idempotency key was used for another increment"),
        TOO_MANY_REQUESTS("too-many-requests", 429, "Too many requests from this address", 1),
        HEADERS_TOO_LARGE("headers-too-large", 431, "The headers are too large"),
        OUTCOME_UNKNOWN("outcome-unknown", 500, "The increment may or may not have been counted"),
        INTERNAL_ERROR("internal-error", 500, "Internal error"),
        BUSY("busy", 503, "Too many requests are waiting", 1),
        STOPPING("stopping", 503, "This replica is stopping", 1),
        STORE_FAILED("store-failed", 503, "This replica has stopped counting"),
        STORE_FULL("store-full", 507, "No space left on the disk", 10),
        TOO_MANY_COUNTERS("too-many-counters", 507, "Too many counters on this replica");

        private static final String PREFIX = "urn:counterset:problem:";

        private final String uri;
        private final int status;
        private final String title;
        private final int retryAfterSeconds;

        Type(String name, int status, String title) {
            this(name, status, title, 0);
        }

        Type(String name, int status, String title, int retryAfterSeconds) {
            this.uri = PREFIX + name;
            this.status = status;
            this.title = title;
            this.retryAfterSeconds = retryAfterSeconds;
        }

        /** Returns the last part of the type's URI. */
        String word() {
            return uri.substring(PREFIX.length());
        }

        String title() {
            return title;
        }

        /** Returns whether the operator rather than the client can solve the problem. */
        boolean isOperators() {
            return status >= 500 && this != STOPPING;
        }

        /** Returns the URI that identifies this type in a response. */
        @Override
        @JsonValue
        public String toString() {
            return uri;
        }
    }

    /** Fails a request with a problem before anything was added. */
    static final class Refusal extends RuntimeException {
        private static final long serialVersionUID = 1L;

        private final transient Problem problem;

        Refusal(Type type, @Nullable String detail) {
            super(detail, null, false, false);
            this.problem = of(type, detail);
        }

        Problem problem() {
            return problem;
        }
    }

    static final String MEDIA_TYPE = "application/problem+json";

    /**
     * Declares in the OpenAPI document that any request to a controller may be answered with a
     * problem.
     */
    @ApiResponse(responseCode = "304", ref = "#/components/responses/NotModified")
    @ApiResponse(responseCode = "401", ref = "#/components/responses/TokenRequired")
    @ApiResponse(responseCode = "403", ref = "#/components/responses/Forbidden")
    @ApiResponse(responseCode = "429", ref = "#/components/responses/TooManyRequests")
    @ApiResponse(
            responseCode = "4XX",
            description = Answers.DESCRIPTION,
            headers = {
                @Header(name = "Cache-Control", ref = "#/components/headers/CacheControl"),
                @Header(name = "Allow", ref = "#/components/headers/Allow")
            },
            content = @Content(mediaType = MEDIA_TYPE, schema = @Schema(ref = "#/components/schemas/Problem")))
    @ApiResponse(
            responseCode = "5XX",
            description = Answers.DESCRIPTION,
            headers = {
                @Header(name = "Cache-Control", ref = "#/components/headers/CacheControl"),
                @Header(name = "Retry-After", ref = "#/components/headers/RetryAfter")
            },
            content = @Content(mediaType = MEDIA_TYPE, schema = @Schema(ref = "#/components/schemas/Problem")))
    @Retention(RetentionPolicy.CLASS)
    @Target(ElementType.TYPE)
    @interface Answers {
        String DESCRIPTION = "A problem (RFC 9457): type identifies it, and increment tells whether anything was added";
    }

    private static final Logger LOG = LoggerFactory.getLogger(Problem.class);

    /** Returns a problem that occurred before anything was added. */
    static Problem of(Type type, @Nullable String detail) {
        return new Problem(type, type.title, type.status, detail, Increment.NOT_APPLIED);
    }

    /** Returns a problem after which it is unknown whether anything was added. */
    static Problem outcomeUnknown(Type type, @Nullable String detail) {
        return new Problem(type, type.title, type.status, detail, Increment.UNKNOWN);
    }

    /** Returns the problem for a failed add. */
    static Problem ofAdd(Throwable failure) {
        if (failure instanceof CounterStoreException refused) {
            Type type = typeOf(refused);
            String detail = detail(type);
            return refused.outcome() == Outcome.NOT_APPLIED ? of(type, detail) : outcomeUnknown(type, detail);
        }
        LOG.error("an increment failed in an unexpected way", failure);
        return outcomeUnknown(Type.INTERNAL_ERROR, null);
    }

    /**
     * Returns a fixed text rather than the exception's message, which may contain another client's
     * counter name or a path.
     */
    private static @Nullable String detail(Type type) {
        return switch (type) {
            case BUSY -> "nothing was added; retry in a moment";
            case STORE_FULL ->
                "no space left for a new counter or key; nothing was added; existing counters still count";
            case TOO_MANY_COUNTERS -> "nothing was added; existing counters still count";
            case KEY_REUSED -> "the key was used before with another counter or amount; nothing was added";
            case STORE_FAILED -> "the disk failed; nothing was added, and only a restart opens the store again";
            case STOPPING -> "nothing was added; another replica may answer";
            case OUTCOME_UNKNOWN -> "the disk failed during the increment; only a retry with the same key is safe";
            case OVERFLOW -> "the count would exceed its maximum; nothing was added";
            default -> null;
        };
    }

    private static Type typeOf(CounterStoreException refused) {
        if (refused instanceof StoreBusyException) {
            return Type.BUSY;
        } else if (refused instanceof StoreFullException) {
            return Type.STORE_FULL;
        } else if (refused instanceof TooManyCountersException) {
            return Type.TOO_MANY_COUNTERS;
        } else if (refused instanceof KeyConflictException) {
            return Type.KEY_REUSED;
        } else if (refused instanceof TotalLimitException) {
            return Type.OVERFLOW;
        } else if (refused instanceof StoreFailedException) {
            return Type.STORE_FAILED;
        } else if (refused instanceof StoreClosedException) {
            return Type.STOPPING;
        } else if (refused instanceof OutcomeUnknownException) {
            return Type.OUTCOME_UNKNOWN;
        }
        return Type.INTERNAL_ERROR;
    }

    MutableHttpResponse<Problem> response() {
        return fill(HttpResponse.status(HttpStatus.valueOf(status)));
    }

    /** Fills {@code response} with this problem. */
    MutableHttpResponse<Problem> fill(MutableHttpResponse<?> response) {
        if (type.retryAfterSeconds > 0) {
            response.header(HttpHeaders.RETRY_AFTER, Integer.toString(type.retryAfterSeconds));
        }
        if (type == Type.MISDIRECTED) { // a retry on another connection may reach another replica
            response.header(HttpHeaders.CONNECTION, "close");
        }
        if (type == Type.TOKEN_REQUIRED) { // browsers ask their users for Basic credentials, and send them from then on
            response.header(HttpHeaders.WWW_AUTHENTICATE, "Bearer realm=\"counterset\"")
                    .header(HttpHeaders.WWW_AUTHENTICATE, "Basic realm=\"counterset\", charset=\"UTF-8\"");
        } else if (type == Type.TOKEN_INSUFFICIENT) {
            response.header(HttpHeaders.WWW_AUTHENTICATE, "Bearer realm=\"counterset\", error=\"insufficient_scope\"");
        }
        return response.status(status)
                .header(HttpHeaders.CACHE_CONTROL, "no-store")
                .contentType(new MediaType(MEDIA_TYPE))
                .body(this);
    }
}
