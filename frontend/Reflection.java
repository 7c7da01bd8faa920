import java.lang.reflect.Field;

/** Opens what TorchServe keeps to itself. */
final class Reflection {
    private Reflection() {}

    /** Returns a private field; it is there in the one version of TorchServe that these classes are for. */
    static Field field(Class<?> owner, String name) {
        try {
            Field field = owner.getDeclaredField(name);
            field.setAccessible(true);
            return field;
        } catch (NoSuchFieldException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Returns the value of an object's private field. */
    @SuppressWarnings("unchecked")
    static <T> T value(Class<?> owner, String name, Object object) {
        try {
            return (T) field(owner, name).get(object);
        } catch (IllegalAccessException e) {
            throw new IllegalStateException(e);
        }
    }
}
