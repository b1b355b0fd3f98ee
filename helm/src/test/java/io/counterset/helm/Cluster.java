// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.google.protobuf.ByteString;
import com.marcnuri.helm.Helm;
import com.marcnuri.helm.Release;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.kubernetes.client.proto.Runtime;
import io.kubernetes.client.proto.V1;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.zip.GZIPInputStream;
import org.jspecify.annotations.Nullable;

/**
 * The part of a Kubernetes API server that Helm's install and upgrade use, on loopback. It reports
 * its version and kinds, and stores, lists, patches and deletes objects. It has no controllers and
 * validates nothing.
 */
final class Cluster implements AutoCloseable {

    static {
        // Otherwise each answer waits 40 ms for the client's delayed acknowledgement.
        System.setProperty("sun.net.httpserver.nodelay", "true");
    }

    private static final JsonMapper JSON = new JsonMapper();
    private static final Map<String, List<String>> KINDS = Map.of(
            "v1", List.of("ConfigMap", "Pod", "Secret", "Service", "ServiceAccount", "PersistentVolumeClaim"),
            "apps/v1", List.of("StatefulSet"),
            "cert-manager.io/v1", List.of("Certificate"),
            "monitoring.coreos.com/v1", List.of("PodMonitor", "PrometheusRule", "ServiceMonitor"),
            "networking.k8s.io/v1", List.of("Ingress", "NetworkPolicy"),
            "gateway.networking.k8s.io/v1", List.of("HTTPRoute"),
            "policy/v1", List.of("PodDisruptionBudget"),
            "rbac.authorization.k8s.io/v1", List.of("Role", "RoleBinding"));

    private final String version;
    private final HttpServer server;
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final Map<String, ObjectNode> objects = new LinkedHashMap<>();

    Cluster(String version) throws IOException {
        this.version = version;
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setExecutor(threads);
        server.createContext("/", this::handle);
        server.start();
    }

    /** Returns the kubeconfig with which kubectl or Helm reaches this cluster. */
    String kubeConfig() {
        return """
                apiVersion: v1
                kind: Config
                current-context: test
                clusters: [{name: test, cluster: {server: "http://127.0.0.1:%d"}}]
                users: [{name: test, user: {}}]
                contexts: [{name: test, context: {cluster: test, user: test, namespace: demo}}]
                """.formatted(server.getAddress().getPort());
    }

    /** Installs the release {@code app-python} in the namespace {@code demo}. */
    Release install(Path chart, String values) {
        return Chart.withFile(
                values,
                file -> new Helm(chart)
                        .install()
                        .withName("app-python")
                        .withNamespace("demo")
                        .withValuesFile(file)
                        .withKubeConfigContents(kubeConfig())
                        .disableOpenApiValidation()
                        .call());
    }

    /** Upgrades that release. */
    Release upgrade(Path chart, String values) {
        return Chart.withFile(
                values,
                file -> new Helm(chart)
                        .upgrade()
                        .withName("app-python")
                        .withNamespace("demo")
                        .withValuesFile(file)
                        .withKubeConfigContents(kubeConfig())
                        .disableOpenApiValidation()
                        .call());
    }

    /** Returns every object except Helm's own records. */
    synchronized Chart.Objects objects() {
        return new Chart.Objects(objects.values().stream()
                .filter(o -> !o.path("kind").asText().equals("Secret"))
                .<JsonNode>map(ObjectNode::deepCopy)
                .toList());
    }

    /** Returns Helm's record of its last install or upgrade. */
    synchronized JsonNode record() throws IOException {
        JsonNode secret = objects.values().stream()
                .filter(o -> o.path("type").asText().equals("helm.sh/release.v1"))
                .reduce((first, second) -> second)
                .orElseThrow();
        byte[] packed = Base64.getDecoder().decode(secret.at("/data/release").binaryValue());
        try (var unpacked = new GZIPInputStream(new ByteArrayInputStream(packed))) {
            return JSON.readTree(unpacked);
        }
    }

    /** Deletes the object, as kubectl would. */
    synchronized void delete(String kind, String name) {
        objects.values()
                .removeIf(o -> o.path("kind").asText().equals(kind)
                        && o.at("/metadata/name").asText().equals(name));
    }

    @Override
    public void close() {
        server.stop(0);
        threads.shutdownNow();
    }

    private void handle(HttpExchange exchange) throws IOException {
        byte[] body = exchange.getRequestBody().readAllBytes();
        Answer answer;
        try {
            answer =
                    answer(exchange.getRequestMethod(), exchange.getRequestURI().getPath(), query(exchange), body);
        } catch (RuntimeException | IOException | Error e) {
            answer = new Answer(500, status(500, "InternalError", e.toString()));
        }
        byte[] bytes = JSON.writeValueAsBytes(answer.body);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(answer.code, bytes.length);
        try (var out = exchange.getResponseBody()) {
            out.write(bytes);
        }
    }

    private record Answer(int code, JsonNode body) {}

    private static Map<String, String> query(HttpExchange exchange) {
        Map<String, String> parameters = new LinkedHashMap<>();
        String query = exchange.getRequestURI().getRawQuery();
        for (String parameter : query == null ? new String[0] : query.split("&")) {
            String[] parts = parameter.split("=", 2);
            parameters.put(parts[0], parts.length < 2 ? "" : URLDecoder.decode(parts[1], StandardCharsets.UTF_8));
        }
        return parameters;
    }

    private synchronized Answer answer(String method, String path, Map<String, String> query, byte[] body)
            throws IOException {
        if (method.equals("GET")) {
            JsonNode discovery = discovery(path);
            if (discovery != null) {
                return new Answer(200, discovery);
            }
        }
        @Nullable ObjectNode found = objects.get(path);
        return switch (method) {
            case "GET" -> {
                String kind = kindOf(path);
                if (found != null) {
                    yield new Answer(200, found);
                }
                yield kind == null ? notFound(path) : new Answer(200, list(path, kind, query));
            }
            case "POST" -> {
                ObjectNode object = parse(body);
                String name = path + "/" + object.at("/metadata/name").asText();
                yield objects.putIfAbsent(name, object) == null
                        ? new Answer(201, object)
                        : new Answer(409, status(409, "AlreadyExists", name + " already exists"));
            }
            case "PUT", "PATCH" -> {
                if (found == null) {
                    yield notFound(path);
                }
                ObjectNode change = parse(body);
                ObjectNode changed = method.equals("PUT") ? change : merge(found, change);
                objects.put(path, changed);
                yield new Answer(200, changed);
            }
            case "DELETE" ->
                objects.remove(path) == null
                        ? notFound(path)
                        : new Answer(
                                200,
                                JSON.createObjectNode().put("kind", "Status").put("status", "Success"));
            default -> new Answer(405, status(405, "MethodNotAllowed", method));
        };
    }

    private static Answer notFound(String path) {
        return new Answer(404, status(404, "NotFound", path + " not found"));
    }

    /**
     * Helm sends Secrets, its records, as protobuf after a magic number, and everything else as
     * JSON.
     */
    private static ObjectNode parse(byte[] body) throws IOException {
        if (body.length < 4 || body[0] != 'k' || body[1] != '8' || body[2] != 's' || body[3] != 0) {
            return (ObjectNode) JSON.readTree(body);
        }
        var envelope = Runtime.Unknown.parseFrom(ByteString.copyFrom(body, 4, body.length - 4));
        var secret = V1.Secret.parseFrom(envelope.getRaw());
        ObjectNode object = JSON.createObjectNode()
                .put("apiVersion", "v1")
                .put("kind", "Secret")
                .put("type", secret.getType());
        ObjectNode metadata =
                object.putObject("metadata").put("name", secret.getMetadata().getName());
        ObjectNode labels = metadata.putObject("labels");
        secret.getMetadata().getLabelsMap().forEach(labels::put);
        ObjectNode data = object.putObject("data");
        secret.getDataMap().forEach((key, value) -> data.put(key, value.toByteArray()));
        return object;
    }

    /**
     * Merges as in RFC 7386: lists are replaced, whereas a real server would merge some of them.
     */
    static ObjectNode merge(ObjectNode target, ObjectNode patch) {
        ObjectNode result = target.deepCopy();
        patch.properties().forEach(e -> {
            if (e.getValue().isNull()) {
                result.remove(e.getKey());
            } else if (e.getValue() instanceof ObjectNode change && result.get(e.getKey()) instanceof ObjectNode old) {
                result.set(e.getKey(), merge(old, change));
            } else {
                result.set(e.getKey(), e.getValue());
            }
        });
        return result;
    }

    private JsonNode list(String path, String kind, Map<String, String> query) {
        ObjectNode list = JSON.createObjectNode()
                .put("kind", kind + "List")
                .put(
                        "apiVersion",
                        path.startsWith("/api/") ? "v1" : path.split("/", -1)[2] + "/" + path.split("/", -1)[3]);
        list.putObject("metadata").put("resourceVersion", "1");
        var items = list.putArray("items");
        String[] labels = query.getOrDefault("labelSelector", "").split(",");
        objects.forEach((key, object) -> {
            if (key.startsWith(path + "/")
                    && Arrays.stream(labels)
                            .filter(l -> !l.isEmpty())
                            .map(l -> l.split("=", 2))
                            .allMatch(l -> object.at("/metadata/labels")
                                    .path(l[0])
                                    .asText()
                                    .equals(l[1]))) {
                items.add(object);
            }
        });
        return list;
    }

    /** Returns the kind of the collection at the path, or null if there is no collection. */
    private static @Nullable String kindOf(String path) {
        String last = path.substring(path.lastIndexOf('/') + 1);
        return KINDS.values().stream()
                .flatMap(List::stream)
                .filter(kind -> plural(kind).equals(last))
                .findFirst()
                .orElse(null);
    }

    private static String plural(String kind) {
        String name = kind.toLowerCase(Locale.ROOT);
        return name.endsWith("y")
                ? name.substring(0, name.length() - 1) + "ies"
                : name + (name.endsWith("s") ? "es" : "s");
    }

    private @Nullable JsonNode discovery(String path) {
        if (path.equals("/version")) {
            return JSON.createObjectNode()
                    .put("major", version.split("\\.", -1)[0])
                    .put("minor", version.split("\\.", -1)[1])
                    .put("gitVersion", "v" + version + ".0");
        }
        if (path.equals("/api")) {
            ObjectNode versions = JSON.createObjectNode().put("kind", "APIVersions");
            versions.putArray("versions").add("v1");
            return versions;
        }
        if (path.equals("/apis")) {
            ObjectNode groups =
                    JSON.createObjectNode().put("kind", "APIGroupList").put("apiVersion", "v1");
            var list = groups.putArray("groups");
            KINDS.keySet().stream().filter(gv -> gv.contains("/")).forEach(gv -> {
                ObjectNode group = list.addObject().put("name", gv.split("/", -1)[0]);
                group.putArray("versions").addObject().put("groupVersion", gv).put("version", gv.split("/", -1)[1]);
                group.putObject("preferredVersion").put("groupVersion", gv).put("version", gv.split("/", -1)[1]);
            });
            return groups;
        }
        List<String> kinds = KINDS.get(path.replaceFirst("^/apis?/", ""));
        if (kinds == null) {
            return null;
        }
        ObjectNode resources = JSON.createObjectNode()
                .put("kind", "APIResourceList")
                .put("apiVersion", "v1")
                .put("groupVersion", path.replaceFirst("^/apis?/", ""));
        var list = resources.putArray("resources");
        kinds.forEach(kind -> list.addObject()
                .put("name", plural(kind))
                .put("singularName", kind.toLowerCase(Locale.ROOT))
                .put("namespaced", true)
                .put("kind", kind)
                .putArray("verbs")
                .add("create")
                .add("delete")
                .add("get")
                .add("list")
                .add("patch")
                .add("update")
                .add("watch"));
        return resources;
    }

    private static ObjectNode status(int code, String reason, String message) {
        return JSON.createObjectNode()
                .put("kind", "Status")
                .put("apiVersion", "v1")
                .put("status", "Failure")
                .put("reason", reason)
                .put("message", message)
                .put("code", code);
    }
}
