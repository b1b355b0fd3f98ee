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
import io.counterset.CounterStoreException.TotalLimitException;
import io.micronaut.http.HttpHeaders;
import io.micronaut.http.HttpResponse;
import io.micronaut.http.HttpStatus;
import io.micronaut.http.MediaType;
import io.micronaut.http.MutableHttpResponse;
import io.micronaut.serde.annotation.Serdeable;
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
 * Why a request was not done, in the form of RFC 9457.
 *
 * @param type names the kind of problem, for programs; see {@link Type}
 * @param title the kind of problem in words, always the same for a type
 * @param status the HTTP status
 * @param detail what was wrong with this request, for people
 * @param increment what became of the increment asked for; a request that asked for none did not add anything either
 */
@Serdeable
record Problem(
        Type type, String title, int status, @Nullable String detail, Increment increment) {

    /** What became of the increment that a failed request asked for. */
    @Serdeable
    enum Increment {
        /** It did not happen, and will not. */
        NOT_APPLIED("not-applied"),
        /** It may or may not be there after a restart. Only an idempotency key makes a retry safe. */
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

    /** The kinds of problem. Their names are part of the interface: they are never changed or given another meaning. */
    @Serdeable
    enum Type {
        BAD_REQUEST("bad-request", 400, "The request cannot be understood"),
        BAD_AMOUNT("bad-amount", 400, "The amount is not a whole number of 1 or more"),
        BAD_COUNTER_NAME("bad-counter-name", 400, "That cannot be a counter's name"),
        BAD_IDEMPOTENCY_KEY("bad-idempotency-key", 400, "The idempotency key is malformed"),
        BAD_PAGE("bad-page", 400, "There is no such page"),
        NOT_FOUND("not-found", 404, "There is nothing at this path"),
        METHOD_NOT_ALLOWED("method-not-allowed", 405, "This path does not take this method"),
        NOT_ACCEPTABLE("not-acceptable", 406, "None of the accepted media types is offered"),
        OVERFLOW("overflow", 409, "The count would pass its largest value"),
        TOO_LARGE("too-large", 413, "The request is too large"),
        BODY_NOT_TAKEN("body-not-taken", 415, "This request takes no body"),
        KEY_REUSED("idempotency-key-reused", 422, "The idempotency key was used for another increment"),
        OUTCOME_UNKNOWN(
                "outcome-unknown", 500, "The disk failed during the increment, which may or may not have happened"),
        INTERNAL_ERROR("internal-error", 500, "Something went wrong in this replica"),
        BUSY("busy", 503, "Too many requests are waiting", 1),
        STOPPING("stopping", 503, "This replica is stopping", 1),
        STORE_FAILED("store-failed", 503, "The disk has failed, and this replica has stopped counting"),
        STORE_FULL("store-full", 507, "The disk has no room", 10),
        TOO_MANY_COUNTERS("too-many-counters", 507, "This replica has as many counters as it may");

        private final String uri;
        private final int status;
        private final String title;
        private final int retryAfterSeconds;

        Type(String name, int status, String title) {
            this(name, status, title, 0);
        }

        Type(String name, int status, String title, int retryAfterSeconds) {
            this.uri = "urn:counterset:problem:" + name;
            this.status = status;
            this.title = title;
            this.retryAfterSeconds = retryAfterSeconds;
        }

        /** Returns the URI that stands for this type in a response. */
        @Override
        @JsonValue
        public String toString() {
            return uri;
        }
    }

    /** Ends a request with a problem, before anything was added. */
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

    /** Says, in the interface's description, that every request to a controller may be answered so. */
    @ApiResponse(
            responseCode = "4XX",
            description = Answers.DESCRIPTION,
            content = @Content(mediaType = MEDIA_TYPE, schema = @Schema(ref = "#/components/schemas/Problem")))
    @ApiResponse(
            responseCode = "5XX",
            description = Answers.DESCRIPTION,
            content = @Content(mediaType = MEDIA_TYPE, schema = @Schema(ref = "#/components/schemas/Problem")))
    @Retention(RetentionPolicy.CLASS)
    @Target(ElementType.TYPE)
    @interface Answers {
        String DESCRIPTION = "A problem (RFC 9457): the type says which, increment whether something was added";
    }

    private static final Logger LOG = LoggerFactory.getLogger(Problem.class);

    /** Returns a problem that came up before anything was added. */
    static Problem of(Type type, @Nullable String detail) {
        return new Problem(type, type.title, type.status, detail, Increment.NOT_APPLIED);
    }

    /** Returns a problem after which nobody knows whether something was added. */
    static Problem outcomeUnknown(Type type, @Nullable String detail) {
        return new Problem(type, type.title, type.status, detail, Increment.UNKNOWN);
    }

    /** Returns the problem that an add ended in. */
    static Problem ofAdd(Throwable failure) {
        if (failure instanceof CounterStoreException refused) {
            Type type = typeOf(refused);
            return refused.outcome() == Outcome.NOT_APPLIED
                    ? of(type, refused.getMessage())
                    : outcomeUnknown(type, refused.getMessage());
        }
        LOG.error("an increment failed in an unexpected way", failure);
        return outcomeUnknown(Type.INTERNAL_ERROR, null);
    }

    private static Type typeOf(CounterStoreException refused) {
        if (refused instanceof StoreBusyException) {
            return Type.BUSY;
        } else if (refused instanceof StoreFullException) {
            return refused.getCause() == null ? Type.TOO_MANY_COUNTERS : Type.STORE_FULL;
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

    /** Makes {@code response} say this. */
    MutableHttpResponse<Problem> fill(MutableHttpResponse<?> response) {
        if (type.retryAfterSeconds > 0) {
            response.header(HttpHeaders.RETRY_AFTER, Integer.toString(type.retryAfterSeconds));
        }
        return response.status(status)
                .header(HttpHeaders.CACHE_CONTROL, "no-store")
                .contentType(new MediaType(MEDIA_TYPE))
                .body(this);
    }
}
