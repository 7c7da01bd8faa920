package digits.server;

import java.lang.reflect.Field;

/** Reads what TorchServe 0.12, or Netty of server/lib, keeps private. */
final class PrivateField {
    private PrivateField() {}

    @SuppressWarnings("unchecked")
    static <T> T get(Class<?> owner, String name, Object object) {
        try {
            Field field = owner.getDeclaredField(name);
            field.setAccessible(true);
            return (T) field.get(object);
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException("The server needs TorchServe 0.12: install requirements/serve.txt.", e);
        }
    }
}
