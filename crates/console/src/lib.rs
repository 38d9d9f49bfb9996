//! The frame of the server-rendered pages: layout, components, forms.
