// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static java.util.Objects.requireNonNull;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.networknt.schema.JsonMetaSchema;
import com.networknt.schema.JsonSchema;
import com.networknt.schema.JsonSchemaFactory;
import com.networknt.schema.NonValidationKeyword;
import com.networknt.schema.SchemaValidatorsConfig;
import com.networknt.schema.SpecVersion;
import com.networknt.schema.oas.OpenApi30;
import java.net.URI;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;
import org.yaml.snakeyaml.Yaml;

/** The OpenAPI document that a service serves, and whether a response is one that it describes. */
final class Description {

    /** One method of one path. */
    record Operation(String method, String path, Map<String, Object> body) {}

    private static final ObjectMapper JSON = new ObjectMapper();

    /** With the keywords that only generators know. */
    private static final JsonMetaSchema DIALECT = JsonMetaSchema.builder(OpenApi30.getInstance())
            .unknownKeywordFactory((name, context) -> new NonValidationKeyword(name))
            .build();

    private final Map<String, Object> document;
    private final List<Operation> operations = new ArrayList<>();
    private final Map<Map<String, Object>, JsonSchema> schemas = new ConcurrentHashMap<>();
    private final JsonSchemaFactory factory = JsonSchemaFactory.getInstance(
            SpecVersion.VersionFlag.V4, builder -> builder.metaSchema(DIALECT).defaultMetaSchemaIri(DIALECT.getIri()));

    Description(String yaml) {
        document = new Yaml().load(yaml);
        for (Map.Entry<String, Object> path : map(document, "paths").entrySet()) {
            map(path.getValue())
                    .forEach((method, body) ->
                            operations.add(new Operation(method.toUpperCase(Locale.ROOT), path.getKey(), map(body))));
        }
        // A property that nobody described is a fault of the description.
        for (Object schema : map(document, "components", "schemas").values()) {
            if (map(schema).containsKey("properties")) {
                map(schema).putIfAbsent("additionalProperties", false);
            }
        }
    }

    List<Operation> operations() {
        return operations;
    }

    /** Returns the part of the document at that path; references on the way are followed. */
    Map<String, Object> map(Map<String, Object> from, String... path) {
        Map<String, Object> found = resolve(from);
        for (String name : path) {
            found = resolve(map(requireNonNull(found.get(name), name)));
        }
        return found;
    }

    private Map<String, Object> resolve(Map<String, Object> part) {
        return part.get("$ref") instanceof String reference
                ? map(document, reference.substring(2).split("/", -1))
                : part;
    }

    /** Returns what the document has at that path. */
    Map<String, Object> at(String... path) {
        return map(document, path);
    }

    /**
     * Returns in what the response to a request differs from the description; nothing if that
     * operation is not described.
     */
    List<String> violations(String method, HttpResponse<String> response) {
        Operation operation = find(method, response.uri());
        List<String> violations = new ArrayList<>();
        if (operation == null) {
            return violations;
        }
        Map<String, Object> responses = map(operation.body, "responses");
        String status = Integer.toString(response.statusCode());
        Object described = responses.getOrDefault(status, responses.get(status.charAt(0) + "XX"));
        if (described == null) {
            violations.add("the status " + status + " is not described");
            return violations;
        }
        Map<String, Object> as = resolve(map(described));
        if (as.containsKey("headers")) {
            map(as, "headers").forEach((name, header) -> checkHeader(violations, name, resolve(map(header)), response));
        }
        String type = response.headers()
                .firstValue("Content-Type")
                .orElse("")
                .replaceFirst(";.*", "")
                .strip();
        if (!as.containsKey("content")) {
            if (!type.isEmpty() || !response.body().isEmpty()) {
                violations.add("no content is described");
            }
        } else if (!map(as, "content").containsKey(type)) {
            violations.add("the type " + type + " is not described");
        } else if (type.endsWith("json")) {
            try {
                check(violations, "body", map(as, "content", type, "schema"), JSON.readTree(response.body()));
            } catch (JsonProcessingException e) {
                violations.add("no JSON: " + e.getMessage());
            }
        }
        return violations;
    }

    private @Nullable Operation find(String method, URI uri) {
        Operation found = null;
        for (Operation operation : operations) {
            if (operation.method.equals(method)
                    && uri.getRawPath().matches(operation.path.replaceAll("\\{[^}]*}", "[^/]+"))
                    && (found == null || !operation.path.contains("{"))) { // a path without a variable goes first
                found = operation;
            }
        }
        return found;
    }

    private void checkHeader(
            List<String> violations, String name, Map<String, Object> header, HttpResponse<String> response) {
        List<String> values = response.headers().allValues(name);
        if (values.isEmpty() && Boolean.TRUE.equals(header.get("required"))) {
            violations.add("the header " + name + " is missing");
        }
        Map<String, Object> schema = map(header, "schema");
        for (String value : values) {
            boolean number = "integer".equals(schema.get("type")) && value.matches("[0-9]{1,18}");
            check(violations, name, schema, number ? JSON.valueToTree(Long.valueOf(value)) : JSON.valueToTree(value));
        }
    }

    private void check(List<String> violations, String where, Map<String, Object> schema, JsonNode value) {
        JsonSchema compiled = schemas.computeIfAbsent(schema, key -> {
            Map<String, Object> whole = new HashMap<>(key);
            whole.put("components", requireNonNull(document.get("components")));
            return factory.getSchema(
                    JSON.<JsonNode>valueToTree(whole),
                    SchemaValidatorsConfig.builder()
                            .formatAssertionsEnabled(true)
                            .build());
        });
        compiled.validate(value).forEach(message -> violations.add(where + " " + message.getMessage()));
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> map(Object value) {
        return (Map<String, Object>) value;
    }
}
