// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import com.marcnuri.helm.DryRun;
import com.marcnuri.helm.Helm;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.stream.StreamSupport;

/**
 * The chart in {@code helm/counter}, rendered by the Helm engine. It needs no cluster and no
 * network.
 */
final class Chart {

    static final Path DIRECTORY = Path.of("counter");
    static final String OLDEST_KUBERNETES = System.getProperty("kubernetes.oldest", "");
    static final String NEWEST_KUBERNETES = System.getProperty("kubernetes.newest", "");

    /** Reads YAML as strictly as the API server: a duplicate key is an error. */
    static final YAMLMapper YAML = YAMLMapper.builder()
            .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)
            .build();

    /**
     * The chart with the pod of {@code helm test} as an ordinary object. This engine's
     * {@code template} omits hooks, but that pod must be checked like the other objects.
     */
    private static final Path WITHOUT_HOOKS = copyWithoutHooks();

    private Chart() {}

    /**
     * Renders the objects of a release, including hooks, with the given values on the newest
     * Kubernetes.
     */
    static Objects render(String release, String values) {
        return render(release, values, NEWEST_KUBERNETES);
    }

    /**
     * As above, on the given version of Kubernetes. Throws {@link IllegalStateException} with
     * Helm's message if Helm fails.
     */
    static Objects render(String release, String values, String kubernetes) {
        return render(WITHOUT_HOOKS, release, "demo", values, kubernetes);
    }

    /** As above, on the newest Kubernetes in the given namespace. */
    static Objects renderIn(String namespace, String release, String values) {
        return render(WITHOUT_HOOKS, release, namespace, values, NEWEST_KUBERNETES);
    }

    /** As above, for the chart in another directory, without hooks. */
    static Objects render(Path chart, String release, String values, String kubernetes) {
        return render(chart, release, "demo", values, kubernetes);
    }

    private static Objects render(Path chart, String release, String namespace, String values, String kubernetes) {
        return withFile(
                values,
                file -> Objects.parse(new Helm(chart)
                        .template()
                        .withName(release)
                        .withNamespace(namespace)
                        .withKubeVersion(kubernetes + ".0")
                        .withValuesFile(file)
                        .call()));
    }

    /** Returns what {@code helm install} prints for such a release: the chart's notes. */
    static String notes(String release, String values) {
        return notes(DIRECTORY, release, values);
    }

    /** As above, for the chart in another directory. */
    static String notes(Path chart, String release, String values) {
        String output = withFile(
                values,
                file -> new Helm(chart)
                        .install()
                        .clientOnly()
                        .withDryRunOption(DryRun.CLIENT)
                        .withName(release)
                        .withNamespace("demo")
                        .withKubeVersion(NEWEST_KUBERNETES + ".0")
                        .withValuesFile(file)
                        .call()
                        .getOutput());
        return output.substring(output.indexOf("\nNOTES:\n") + "\nNOTES:\n".length());
    }

    /** Returns a file of the chart as a tree. */
    static JsonNode read(String file) {
        try {
            return YAML.readTree(DIRECTORY.resolve(file).toFile());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Copies the chart to the directory. */
    static void copyTo(Path directory) throws IOException {
        try (var files = Files.walk(DIRECTORY)) {
            for (Path file : files.filter(Files::isRegularFile).toList()) {
                Path target = directory.resolve(DIRECTORY.relativize(file));
                Files.createDirectories(target.getParent());
                Files.copy(file, target, StandardCopyOption.REPLACE_EXISTING);
            }
        }
    }

    private static Path copyWithoutHooks() {
        try {
            Path copy = Files.createDirectories(
                    Path.of(System.getProperty("chart.copy", "target/chart-without-hooks"), "counter"));
            try (var stale = Files.walk(copy)) {
                for (Path file : stale.filter(Files::isRegularFile).toList()) {
                    Files.delete(file);
                }
            }
            copyTo(copy);
            Path test = copy.resolve("templates/tests/check.yaml");
            String hook = "\"helm.sh/hook\" \"test\"";
            String text = Files.readString(test);
            if (!text.contains(hook)) {
                throw new IllegalStateException(test + " has no " + hook);
            }
            Files.writeString(test, text.replace(hook, "\"counterset.io/hook\" \"test\""));
            return copy;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Runs the action with a file that contains the values. */
    static <T> T withFile(String values, Function<Path, T> action) {
        try {
            Path file = Files.createTempFile("values", ".yaml");
            try {
                Files.writeString(file, values);
                return action.apply(file);
            } finally {
                Files.delete(file);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Rendered objects. */
    record Objects(List<JsonNode> all) {

        static Objects parse(String manifests) {
            try (var documents = YAML.readerFor(JsonNode.class).<JsonNode>readValues(manifests)) {
                return new Objects(documents.readAll().stream()
                        .filter(node -> !node.isNull() && !node.isMissingNode())
                        .toList());
            } catch (IOException e) {
                throw new UncheckedIOException("not YAML: " + manifests, e);
            }
        }

        /** Returns the object of that kind and name. */
        JsonNode get(String kind, String name) {
            return all.stream()
                    .filter(o -> o.path("kind").asText().equals(kind)
                            && o.at("/metadata/name").asText().equals(name))
                    .findFirst()
                    .orElseThrow(() -> new AssertionError("no " + kind + " " + name + " in " + names()));
        }

        /** Returns the part of that object at the JSON pointer; a missing node if there is none. */
        JsonNode at(String kind, String name, String pointer) {
            return get(kind, name).at(pointer);
        }

        /** Returns the only StatefulSet. */
        JsonNode statefulSet() {
            List<JsonNode> found = of("StatefulSet");
            if (found.size() != 1) {
                throw new AssertionError("not one StatefulSet in " + names());
            }
            return found.get(0);
        }

        /** Returns the spec of the StatefulSet's pods. */
        JsonNode pod() {
            return statefulSet().at("/spec/template/spec");
        }

        /** Returns the container of the service. */
        JsonNode container() {
            return StreamSupport.stream(pod().path("containers").spliterator(), false)
                    .filter(c -> c.path("name").asText().equals("counter"))
                    .findFirst()
                    .orElseThrow();
        }

        /** Returns the container's environment variables that have a value, by name. */
        Map<String, String> environment() {
            Map<String, String> environment = new TreeMap<>();
            container().path("env").forEach(v -> {
                if (v.has("value")) {
                    environment.put(v.path("name").asText(), v.path("value").asText());
                }
            });
            return environment;
        }

        /** Returns all objects of a kind. */
        List<JsonNode> of(String kind) {
            return all.stream()
                    .filter(o -> o.path("kind").asText().equals(kind))
                    .toList();
        }

        /** Returns every object as {@code Kind/name}, sorted. */
        List<String> names() {
            return all.stream()
                    .map(o -> o.path("kind").asText() + "/"
                            + o.at("/metadata/name").asText())
                    .sorted()
                    .toList();
        }
    }
}
