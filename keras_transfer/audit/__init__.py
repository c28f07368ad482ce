"""Problems of the data, found before training: broken, odd and repeated examples, and labels that look wrong."""
